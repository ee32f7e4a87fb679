"""A clock for training runs that does not depend on the machine."""

import sys
import time
from typing import Any


class SimulatedClock:
    """Stands for the module ``time``: each reading of ``monotonic`` takes ``tick`` seconds, and nothing else does."""

    def __init__(self, tick: float = 0.02):
        self.tick = tick
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the simulated seconds, ``tick`` later than before."""
        self.seconds += self.tick
        return self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def use_simulated_clock(monkeypatch: Any, tick: float = 0.02) -> SimulatedClock:
    """Let all modules of ``cifarnet.training`` read the returned clock."""
    clock = SimulatedClock(tick)
    for name, module in list(sys.modules.items()):
        if name.startswith("cifarnet.training.") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", clock)
    return clock
