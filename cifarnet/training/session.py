"""What surrounds a training run: clock, reports and the start of the backend."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cifarnet.backend.select import use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.events import EventHandler, ignore
from cifarnet.runs.request import SAVE_INTERVAL


@dataclass(frozen=True, kw_only=True)
class Session:
    """Settings from the command or program that starts a training run. They do not change its result.

    Attributes:
        mirrors: addresses to try before the official ones of named data sets.
        save_interval: seconds between checkpoints within an epoch.
        started: the start of the time budget, by ``time.monotonic()``.
        report: receives the events of the run.
        data_report: receives the progress of reading images.
        start_backend: imports the backend with the given name, which takes seconds, and returns its name.
    """

    mirrors: Sequence[str] = ()
    save_interval: float = SAVE_INTERVAL
    started: float = field(default_factory=time.monotonic)
    report: EventHandler = ignore
    data_report: Progress = silent
    start_backend: Callable[[str | None], str] = use_backend
