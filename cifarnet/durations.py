"""Formats durations for messages, reports and the option ``--budget``."""

import re

from cifarnet.fields import Notation


def duration(seconds: float) -> str:
    """Return ``seconds`` in a suitable unit: ``45 s``, ``12 min``, ``3.5 hours``, ``40 days``."""
    for unit, name, below in ((1, "s", 100), (60, "min", 5400), (3600, "hours", 48 * 3600)):
        if seconds < below:
            return f"{seconds / unit:.{1 if name == 'hours' else 0}f} {name}"
    return f"{seconds / 86400:.0f} days"


def span(seconds: float) -> str:
    """Return ``seconds`` in the format of ``--budget``: ``20m``, ``1h30m``, ``90s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:g}s" if rest else ""]
    return "".join(parts) or "0s"


def seconds(text: str) -> float:
    """Return the seconds in a span of time such as ``1h30m``, ``20m`` or ``90s``.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    if not text.strip() or not match:
        raise ValueError(f"not a span of time: {text}")
    return sum(float(part) * unit for part, unit in zip(match.groups("0"), (3600, 60, 1), strict=True))


DURATION = Notation("a time", "20m, 1h30m or 90s", seconds, lambda value: f"{value:.3f}".rstrip("0").rstrip(".") + "s")
"""A length of time in one word."""
