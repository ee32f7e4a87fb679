"""How a command trains, apart from what it trains: clock, reports and the start of the backend."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cifarnet.backend.select import use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.events import EventHandler, ignore

SAVE_INTERVAL = 180.0
"""Seconds between checkpoints within an epoch."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a training run gets from the command or program that starts it. Nothing here changes a run's result.

    Attributes:
        mirrors: addresses to try before the official ones of named data sets.
        save_interval: seconds between checkpoints within an epoch.
        started: when a budget began to count, by ``time.monotonic()``.
        report: receives the events of the run.
        data_report: receives the progress of reading images.
        start_backend: imports the backend of the name that it is called with, which takes seconds.
    """

    mirrors: Sequence[str] = ()
    save_interval: float = SAVE_INTERVAL
    started: float = field(default_factory=time.monotonic)
    report: EventHandler = ignore
    data_report: Progress = silent
    start_backend: Callable[[str | None], str] = use_backend
