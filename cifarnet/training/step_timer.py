"""Measure the speed of training steps at all image sizes."""

import time
from collections.abc import Callable

# The first calls compile the network, so they are not measured.
WARMUP_CALLS = 3
ESTIMATE_AFTER = 10

# The last batch of an epoch is smaller, so it is compiled separately. A call that is slower than the mean by more than
# this factor counts as slower by this factor.
SLOWEST = 5


class StepTimer:
    """Measures seconds per step as an exponentially weighted mean, without the first calls.

    Steps on smaller images are converted to full size by ``relative``, or by ``relative_cost`` where nothing was
    measured.

    Attributes:
        relative_cost: returns the estimated time of a step at an image size, relative to full size.
        relative: the measured relative times by image size.
        calls: number of calls of the training function so far.
    """

    def __init__(self, relative_cost: Callable[[int], float]) -> None:
        self.relative_cost = relative_cost
        self.relative: dict[int, float] = {}
        self.calls = 0
        self._full_step: float | None = None
        self._last = time.monotonic()

    def begin(self) -> None:
        """Start the clock before the first step, or after a pause in training."""
        self._last = time.monotonic()

    def step(self, size: int, steps: int = 1) -> None:
        """Record ``steps`` that finished together, on images of ``size`` pixels."""
        now = time.monotonic()
        self.calls += 1
        if self.calls > WARMUP_CALLS:
            seconds = max(now - self._last, 1e-9) / steps / self._share(size)
            previous = self._full_step
            self._full_step = seconds if previous is None else 0.95 * previous + 0.05 * min(seconds, SLOWEST * previous)
        self._last = now

    def seconds_per_step(self, size: int) -> float | None:
        """Return the seconds of a step on images of ``size`` pixels; None during the first calls."""
        return None if self._full_step is None else self._full_step * self._share(size)

    def _share(self, size: int) -> float:
        return self.relative.get(size) or self.relative_cost(size)
