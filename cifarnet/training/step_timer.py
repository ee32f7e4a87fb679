"""How fast the steps of a run are, at whatever image size."""

import time
from collections.abc import Callable

# The first calls compile the network; what comes after tells how fast it is.
WARMUP_CALLS = 3
ESTIMATE_AFTER = 10

# An epoch's last batch, which is smaller, is compiled on its own: a call so much slower than the others counts as this
# many times slower, not as it was.
SLOWEST = 5


class StepTimer:
    """Seconds per step of the steps so far, the first few calls left out and the last ones counting most.

    Steps on smaller images take the share ``relative_cost`` of the time at full size, until ``relative``, which was
    measured, says otherwise.
    """

    def __init__(self, relative_cost: Callable[[int], float]) -> None:
        self.relative_cost = relative_cost
        self.relative: dict[int, float] = {}
        self.calls = 0
        self._full_step: float | None = None
        self._last = time.monotonic()

    def begin(self) -> None:
        """Start the clock, after something other than training took time."""
        self._last = time.monotonic()

    def step(self, size: int, steps: int = 1) -> None:
        """Note ``steps`` finished together, on images of ``size`` pixels."""
        now = time.monotonic()
        self.calls += 1
        if self.calls > WARMUP_CALLS:
            seconds = max(now - self._last, 1e-9) / steps / self._share(size)
            previous = self._full_step
            self._full_step = seconds if previous is None else 0.95 * previous + 0.05 * min(seconds, SLOWEST * previous)
        self._last = now

    def seconds_per_step(self, size: int) -> float | None:
        """The time of a step on images of ``size`` pixels; None while it is too early to tell."""
        return None if self._full_step is None else self._full_step * self._share(size)

    def _share(self, size: int) -> float:
        return self.relative.get(size) or self.relative_cost(size)
