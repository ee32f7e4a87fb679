"""Handle the errors of standard streams, and the signals that end the process.

This module has no slow imports, because ``cifarnet.__main__`` uses it before it imports the command line.
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
    """Open the null device for each standard stream that is closed (``2>&-``).

    Otherwise the next file that is opened would get the number of the stream and its output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # This gets the lowest free number, which is ``number``, because lower numbers are in use.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the process ends


@contextmanager
def guarded_stderr() -> Iterator[None]:
    """Discard messages that can't be printed on stderr.

    A full disk or a closed pipe (``2>&1 | head``) must not end a training.
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
    """Raise an error when data can't be printed on stdout, or flushed at the end of the block.

    Raises:
        BrokenPipeError: when the reader of stdout has ended.
        StorageError: for every other error of writing.
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
    """A text stream that forwards output to ``stream``, and handles errors of writing."""

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
        """Leave the stream open. TensorFlow's logging would close it when the process exits."""

    def _refused(self, error: OSError) -> None:
        raise NotImplementedError

    def _discard(self) -> None:
        """Discard buffered and later output, which would otherwise cause an error when Python exits."""
        self._discarding = True
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class _Messages(_Stream):
    def _refused(self, error: OSError) -> None:
        pass  # A full disk may have room for a later message.

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
        """Raise the error of an earlier write, which Typer may have ignored when it tested its streams.

        Raises:
            StorageError: when stdout could not be written to.
        """
        if self._error:
            from cifarnet.errors import StorageError

            raise StorageError(Path("Standard output"), self._error) from self._error


class Stopped(SystemExit):
    """Raised when a signal requests the end of the process. ``status`` is 128 plus its ``number``, as in a shell."""

    def __init__(self, number: int):
        self.number, self.status = number, 128 + number
        super().__init__(self.status)


@contextmanager
def stopping_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread at the first SIGINT, SIGTERM or SIGHUP, and end the process at the second.

    Signals that are ignored stay so: nohup ignores SIGHUP, and shells ignore SIGINT in background jobs. When a library
    converts ``Stopped`` to another error, ``Stopped`` is raised again at the end of the block. When C code or a
    destructor drops it, the signal is sent again.
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
            # The traceback refers to this frame, which would keep an exception alive that a library has dropped.
            del stopped

    def send_again(dropped: "weakref.ref[Stopped]") -> None:
        if dropped not in raised:
            return
        raised.clear()
        # With a delay, because an exception that is raised here would be dropped too.
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


def python_command(module: str) -> list[str]:
    """Return the words that run the function ``main`` of ``module`` in a new Python, which finds the same modules."""
    # The exact path of this process, in which the current folder need not be.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return [sys.executable, "-P", "-c", code]


def end_at_once_by_signals() -> None:
    """End the process at the first signal, without a traceback and without cleanup."""

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
