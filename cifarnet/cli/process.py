"""The process around a command: its standard streams, and the signals that end it.

Imports nothing heavy: ``cifarnet.__main__`` uses it before the command line's modules are imported.
"""

import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from cifarnet import signals

_SHOW_CURSOR = b"\x1b[?25h"


def open_missing_streams() -> None:
    """Open the null device in the place of each standard stream that the process was started without (``2>&-``).

    Otherwise the next file that is opened gets the stream's number, and receives its output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # This gets the lowest free number, which is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process lives


@contextmanager
def guarded_stderr() -> Iterator[None]:
    """Drop messages that can't be printed on stderr.

    A full disk, or a reader that has ended (``2>&1 | head``), must not end a training.
    """
    before = sys.stderr
    sys.stderr = messages = _Messages(before)
    try:
        yield
    finally:
        sys.stderr = before
        messages.close_down()


@contextmanager
def guarded_stdout() -> Iterator[None]:
    """Raise an error when data can't be printed on stdout, including those that are flushed last.

    Raises:
        BrokenPipeError: when the reader of stdout has ended.
        StorageError: when stdout can't be written to for another reason.
    """
    before = sys.stdout
    sys.stdout = data = _Data(before)
    try:
        yield
    finally:
        sys.stdout = before
        data.flush()
    data.require_space()


class _Stream:
    """A text stream that forwards everything to ``stream`` and handles the errors of writing."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._discarding = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            if not self._discarding:
                self._stream.write(text)
        except OSError as error:
            self._refused(error)
        return len(text)

    def flush(self) -> None:
        try:
            if not self._discarding:
                self._stream.flush()
        except OSError as error:
            self._refused(error)

    def close(self) -> None:
        """Leave the stream open: TensorFlow's logging keeps it, and would close it at the exit."""

    def _refused(self, error: OSError) -> None:
        raise NotImplementedError

    def _discard(self) -> None:
        """Discard buffered and later output, which Python would otherwise report as an error at its exit."""
        self._discarding = True
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class _Messages(_Stream):
    def _refused(self, error: OSError) -> None:
        pass  # A disk that is full now may have room for the next message.

    def close_down(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()


class _Data(_Stream):
    def __init__(self, stream: Any):
        super().__init__(stream)
        self._error: OSError | None = None

    def _refused(self, error: OSError) -> None:
        self._discard()
        if isinstance(error, BrokenPipeError):
            raise error
        self._error = error
        self.require_space()

    def require_space(self) -> None:
        """Raise the error of a write, again where a library has ignored it: Typer tries its streams out.

        Raises:
            StorageError: when stdout could not be written to.
        """
        if self._error:
            from cifarnet.errors import StorageError

            raise StorageError(Path("Standard output"), self._error) from self._error


class Stopped(SystemExit):
    """A signal asks the process to end; its ``status`` is 128 plus the signal's ``number``, as in a shell."""

    def __init__(self, number: int):
        self.number, self.status = number, 128 + number
        super().__init__(self.status)


@contextmanager
def stopping_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread for the first of SIGINT, SIGTERM and SIGHUP; the second ends all at once.

    Ignored signals stay ignored: nohup ignores SIGHUP, and a shell SIGINT for its background jobs. When a library turns
    ``Stopped`` into another error, ``Stopped`` is raised again at the end of the block. When a library drops it, as
    C code and destructors do, the signal is sent again.
    """
    received: list[int] = []
    raised: list[weakref.ref[Stopped]] = []
    timers: list[threading.Timer] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if raised:
            end_at_once(number)
        received.append(number)
        stopped = Stopped(number)
        raised.append(weakref.ref(stopped, send_again))
        try:
            raise stopped
        finally:
            # Otherwise this frame, which the traceback refers to, keeps the exception after a library has dropped it.
            del stopped

    def send_again(dropped: "weakref.ref[Stopped]") -> None:
        if dropped not in raised:
            return
        raised.clear()
        # Later, as exceptions are still dropped where this runs.
        timers.append(threading.Timer(0.01, os.kill, (os.getpid(), received[-1])))
        timers[-1].start()

    def report(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, Stopped):
            hook(ignored)

    hook, sys.unraisablehook = sys.unraisablehook, report
    before = signals.install(handle)
    try:
        yield
    except Exception as error:
        if received:
            raise Stopped(received[-1]) from error
        raise
    finally:
        raised.clear()
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = hook
        signals.restore(before)


def end_at_once_by_signals() -> None:
    """End the process at the first signal, without a traceback: there is nothing yet to clean up."""

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(2, b"Stopped.\n")
        end_at_once(number)

    signals.install(handle)


def end_at_once(number: int) -> NoReturn:
    """End the process without any cleanup, with the status of the signal ``number``."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)
    os._exit(128 + number)
