"""Formatting of numbers and of rejections, for reports of every medium."""

REJECTION = "none of these, probably"
"""The text for a picture that is probably of none of the classes."""


def percent(share: float, decimals: int = 2) -> str:
    """Return a share of 0 to 1 in percent: ``79.47 %``."""
    return f"{100 * share:.{decimals}f} %"
