"""How a training loop and its run talk to each other: the functions that the loop calls, and why it ends early."""

from collections.abc import Callable
from dataclasses import dataclass

from cifarnet.events import EventHandler


class Stopped(Exception):  # noqa: N818 - a granted request, no error
    """A stop was requested, and the loop is between two batches. The caller saves the state and ends."""


class NonFiniteLoss(Exception):  # noqa: N818 - the run decides whether that is an error
    """The loss or a weight is NaN or infinite after ``step`` steps. The caller ends, or restores a checkpoint."""

    def __init__(self, what: str, step: int):
        super().__init__(f"{what} after step {step:,}")


@dataclass(frozen=True)
class LoopControl:
    """The functions and settings that a loop gets from its run.

    Attributes:
        save: saves the current state.
        stop_requested: returns whether the loop must stop.
        save_interval: seconds between saves within an epoch.
        report: receives the events.
    """

    save: Callable[[], None]
    stop_requested: Callable[[], bool]
    save_interval: float
    report: EventHandler
