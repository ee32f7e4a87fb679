"""The callback by which long-running data work reports its progress. Library code never prints."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called as ``report(activity, done, total)``; ``total`` is None if it is unknown."""


def silent(activity: str, done: int, total: int | None) -> None:
    """Do nothing: a ``Progress`` for callers who don't need one."""
