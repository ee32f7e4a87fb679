"""Print data on stdout, and messages and progress on stderr. Both respect NO_COLOR."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from cifarnet.cli.spelling import with_options

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

    from cifarnet.data.dataset import LeftOut

# Width in columns of a file or pipe, for which Rich would assume 80.
_WIDTH = 160

_messages: "Console | None" = None


def stdout() -> "Console":
    """Return the console for data. It is new at every call, because a test may have replaced the stream."""
    return _console(sys.stdout)


def stderr() -> "Console":
    """Return the console for messages and progress.

    All calls return the same object, unless the stream was replaced. Rich prints messages above a live display only if
    both use the same console.
    """
    global _messages
    # While a display is live, Rich replaces the stream by a proxy.
    stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    if _messages is None or _messages.file is not stream:
        _messages = _console(stream)
    return _messages


def _console(stream: Any) -> "Console":
    from cifarnet.cli.plain_console import PlainConsole

    width = None if stream.isatty() else _WIDTH
    return PlainConsole(file=stream, width=width, highlight=False, emoji=False, soft_wrap=False)


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on stdout, without colours and wrapping."""
    print(json_text(data, indent=2), file=sys.stdout)


def json_text(data: Any, indent: int | None = None) -> str:
    """Return ``data`` as JSON for stdout. Characters that are not printable, or not in its encoding, are escaped."""
    from cifarnet.reports.text import printable_json

    # Python would escape a character that the encoding lacks in a way that is not valid JSON.
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return printable_json(data, indent, ascii_only=not is_unicode)


def print_result(result: "RenderableType") -> None:
    """Print ``result`` on stdout. A closed pipe is ignored, because the result is stored in a file too."""
    with suppress(BrokenPipeError):
        stdout().print(result)


def can_be_redrawn(out: "Console") -> bool:
    """Return whether ``out`` is a terminal that can redraw lines. Pipes and logs only append."""
    if os.environ.get("CI"):  # Some CI services log everything that is written to a terminal.
        return False
    # With FORCE_COLOR Rich treats a file or pipe as a terminal. The variable requests colours, not cursor movements.
    forced = "FORCE_COLOR" in os.environ and not out.file.isatty()
    return out.is_interactive and not forced


class ProgressReporter:
    """Shows the progress of activities. This base class shows nothing."""

    def __call__(self, activity: str, done: int, total: int | None) -> None:
        """Show that ``done`` items of ``total`` (None where unknown) are finished."""

    def end(self) -> None:
        """Remove the progress from the screen."""


def warn(message: str, style: str = "yellow") -> None:
    """Print ``message`` as one line on stderr. Control characters are escaped, since it may quote an untrusted file."""
    from cifarnet.reports.text import printable

    stderr().print(printable(with_options(message)), style=style, markup=False, soft_wrap=True)


@contextmanager
def logged_warnings_shown() -> Iterator[None]:
    """Print the warnings that cifarnet's modules log with ``warn``, which escapes control characters."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(record.getMessage())

    logger, handler = logging.getLogger("cifarnet"), Handler(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def warn_of_left_out(left_out: Iterable["LeftOut"]) -> None:
    """Print one line on stderr for each kind of files of a source that are not read."""
    for files in left_out:
        warn(files.line)


@contextmanager
def progress_reporter(quiet: bool = False) -> Iterator[ProgressReporter]:
    """Yield a reporter that draws a bar on a terminal and prints one line per activity elsewhere."""
    out = stderr()
    reporter = ProgressReporter() if quiet else _Bar(out) if can_be_redrawn(out) else _Lines(out)
    try:
        yield reporter
    finally:
        reporter.end()


class _Lines(ProgressReporter):
    def __init__(self, out: "Console"):
        self._out = out
        self._announced: set[str] = set()

    def __call__(self, activity: str, done: int, total: int | None) -> None:
        from cifarnet.reports.text import printable

        if activity not in self._announced:
            self._announced.add(activity)
            self._out.print(f"{printable(activity)} ...", markup=False, soft_wrap=True)


class _Bar(ProgressReporter):
    """Draws a progress bar for the current activity, and removes it when the activity ends or another begins."""

    def __init__(self, out: "Console"):
        self._out = out
        self._activity: str | None = None
        self._shown: tuple[Progress, SuspendedDisplay] | None = None

    def __call__(self, activity: str, done: int, total: int | None) -> None:
        finished = total is not None and done >= total
        if finished or activity != self._activity:
            self.end()
        if finished:
            return
        if self._shown is None:
            self._activity, self._shown = activity, self._start(activity)
        progress, _ = self._shown
        progress.update(progress.task_ids[0], completed=done, total=total)

    def end(self) -> None:
        if self._shown:
            progress, suspended = self._shown
            suspended.stop()
            progress.stop()
        self._activity = self._shown = None

    def _start(self, activity: str) -> "tuple[Progress, SuspendedDisplay]":
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        from cifarnet.reports.text import printable

        # Long names are cut to keep the bar on one line.
        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (name, BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
        # Rich would redirect data that are printed on stdout to stderr, above the bar.
        progress = Progress(*columns, console=self._out, transient=True, redirect_stdout=False)
        progress.add_task(printable(activity), total=None)
        progress.start()
        suspended = SuspendedDisplay(self._out, lambda: 1)
        suspended.start()
        return progress, suspended


class SuspendedDisplay:
    """Removes a live display of ``rows()`` rows from the terminal while the process is stopped (Ctrl-Z).

    The cursor is shown again for the shell. When the process continues, the display is drawn below the shell's output.
    """

    def __init__(self, out: "Console", rows: Callable[[], int]):
        self._out, self._rows = out, rows
        self._active = False

    def start(self) -> None:
        """Start handling the signal SIGTSTP, unless it is ignored."""
        if (
            hasattr(signal, "SIGTSTP")
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
        ):
            self._active = True
            signal.signal(signal.SIGTSTP, self._suspend)

    def stop(self) -> None:
        """Stop handling the signal."""
        if self._active:
            self._active = False
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        # Written directly to the file, because the signal may have interrupted Rich or Python in a write.
        rows = self._rows()
        self._write("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (rows - 1) + "\x1b[?25h")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The process continues. Rich erases as many rows as it drew, so blank ones are added for it.
        signal.signal(number, self._suspend)
        self._write("\x1b[?25l\r" + "\n" * (rows - 1))

    def _write(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._out.file.fileno(), text.encode())


@contextmanager
def transient(line: str, shown: bool = True) -> Iterator[None]:
    """Show ``line`` on stderr during the block if stderr is a terminal, and erase it afterwards.

    This needs no imports, so that a command can show it during its slow imports.
    """
    stream = sys.stderr
    known = os.name == "nt" or os.environ.get("TERM", "dumb") != "dumb"
    if not (shown and stream.isatty() and known) or os.environ.get("CI"):
        yield
        return
    stream.write(line)
    stream.flush()
    try:
        yield
    finally:
        stream.write(f"\r{' ' * len(line)}\r")
        stream.flush()


def start_backend(name: str | None = None, *, progress: Callable[[str, int, int | None], None] | None) -> str:
    """Start the backend with ``use_backend(name)``, which takes seconds, and return its name.

    A terminal shows a line during the start. ``progress`` is the active reporter. With None, nothing is shown.
    """
    from cifarnet.backend.environment import ignore_number_variables
    from cifarnet.backend.select import choose_backend, use_backend

    chosen = choose_backend(name)
    if "keras" not in sys.modules and (ignored := ignore_number_variables()):
        warn(f"These environment variables would change results and are ignored: {', '.join(ignored)}.")
    if progress is None or "keras" in sys.modules:
        return use_backend(chosen)
    activity = f"Starting {'JAX' if chosen == 'jax' else 'TensorFlow'}"
    # Reported as finished, so that no bar is drawn. Output on stderr is delayed during the import.
    progress(activity, 1, 1)
    with transient(f"{activity} ..."):
        return use_backend(chosen)
