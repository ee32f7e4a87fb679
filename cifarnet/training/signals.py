"""Ctrl-C and SIGTERM as a request to stop at the next safe place, instead of an exception anywhere."""

import signal
import threading
from types import FrameType
from typing import Any, Self

# A closed terminal (SIGHUP, absent on Windows) is as good a reason to save as Ctrl-C.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """While entered, the first signal sets ``signal_number``; a second one acts at once, as without cifarnet.

    Signals reach only a program's main thread; entered in another one, it requests nothing.
    """

    signal_number: int | None = None

    def __enter__(self) -> Self:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # nohup ignores SIGHUP, a shell's background job SIGINT: what is ignored stays so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
