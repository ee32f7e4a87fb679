"""Formats durations for messages, reports and the option ``--budget``."""


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
