"""Handle Ctrl-C and SIGTERM, as a request to stop at the next safe point or as an error with the next command."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from cifarnet import signals
from cifarnet.errors import InterruptedRunError


class StopRequest:
    """A context in which the first signal sets ``signal_number``. A second signal ends the process as usual.

    Signals reach only the main thread of a program. In another thread the context has no effect.
    """

    signal_number: int | None = None

    def __enter__(self) -> Self:
        self._previous = signals.install(self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        signals.restore(self._previous)
        self._previous = {}


@contextmanager
def stopping_with(advice: str) -> Iterator[None]:
    """Raise an ``InterruptedRunError`` with ``advice`` at once when a signal arrives in the block.

    For work that can be repeated from files. Outside of the main thread it has no effect.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError(advice, number)

    previous = signals.install(stop)
    try:
        yield
    finally:
        signals.restore(previous)
