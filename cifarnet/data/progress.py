"""How long-running data work tells what it is doing: library code never prints."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called as ``report(activity, done, total)``; ``total`` is None where it is unknown."""


def silent(activity: str, done: int, total: int | None) -> None:
    """The ``Progress`` of a caller who wants none."""
