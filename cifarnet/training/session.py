"""What surrounds a training run: clock, reports, and the start of the backend and its devices."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cifarnet.backend.cluster import Cluster
from cifarnet.backend.devices import gpu_names
from cifarnet.backend.placement import Placement
from cifarnet.backend.select import use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.events import EventHandler, ignore
from cifarnet.runs.request import SAVE_INTERVAL
from cifarnet.training.distribute import Strategy, start_strategy


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
        cluster: the processes of the run; None for one.
    """

    mirrors: Sequence[str] = ()
    save_interval: float = SAVE_INTERVAL
    started: float = field(default_factory=time.monotonic)
    report: EventHandler = ignore
    data_report: Progress = silent
    start_backend: Callable[[str | None], str] = use_backend
    cluster: Cluster | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the run directory."""
        return self.cluster is None or self.cluster.is_writer

    def start(self, backend: str | None, placement: Placement, synchronized: bool) -> tuple[str, Strategy]:
        """Start the backend, and return its name and the strategy for ``placement``.

        Raises:
            BackendError: when the backend can't be started, or can't use these devices.
        """
        placement.claim()
        name = self.start_backend(backend)
        strategy = start_strategy(
            placement, name, lambda: len(gpu_names(name)), synchronized=synchronized, cluster=self.cluster
        )
        return name, strategy
