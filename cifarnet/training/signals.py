"""Ctrl-C and SIGTERM as a request to stop at the next safe place, or as an error that says how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from cifarnet.errors import InterruptedRunError

# A closed terminal (SIGHUP, absent on Windows) is as good a reason to save as Ctrl-C.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """While entered, the first signal sets ``signal_number``; a second one acts at once, as without cifarnet.

    Signals reach only a program's main thread; entered in another one, it requests nothing.
    """

    signal_number: int | None = None

    def __enter__(self) -> Self:
        self._previous = _install(self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        _restore(self._previous)
        self._previous = {}


@contextmanager
def stopping_with(advice: str) -> Iterator[None]:
    """Raise an ``InterruptedRunError`` with ``advice`` at once when a signal arrives in the block.

    This is for work that can be repeated from files. Outside of the main thread it has no effect.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError(advice, number)

    previous = _install(stop)
    try:
        yield
    finally:
        _restore(previous)


def _install(handler: Any) -> dict[int, Any]:
    """Install ``handler`` for the signals, and return the previous handlers by signal."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            # nohup ignores SIGHUP, a shell's background job SIGINT: what is ignored stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, handler)
    return previous


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
