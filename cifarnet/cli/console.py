"""Where output goes: data to stdout, messages and progress to stderr; both respect NO_COLOR."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def stdout() -> "Console":
    """The console for data, made on call because a test or a shell may have replaced the stream."""
    return _console(sys.stdout)


def stderr() -> "Console":
    """The console for messages and progress."""
    return _console(sys.stderr)


def _console(stream: Any) -> "Console":
    from rich.console import Console

    # Rich assumes 80 columns where it can't ask a terminal; a table in a file or a pipe needs no such limit.
    width = None if stream.isatty() else 160
    return Console(file=stream, width=width, highlight=False, emoji=False, soft_wrap=False)


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on stdout, plainly: it is for programs."""
    print(json.dumps(data, indent=2, ensure_ascii=False), file=sys.stdout)


@contextmanager
def progress_reporter(quiet: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield ``report(activity, done, total)``: a bar per activity on a terminal, one line per activity elsewhere."""
    if quiet:
        yield lambda activity, done, total: None
        return
    console = stderr()
    # FORCE_COLOR makes Rich take a pipe for a terminal, but bars would still be drawn into a log.
    if not (console.is_interactive and sys.stderr.isatty()):
        announced: set[str] = set()

        def announce(activity: str, done: int, total: int | None) -> None:
            if activity not in announced:
                announced.add(activity)
                console.print(f"{activity} ...", markup=False)

        yield announce
        return

    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    tasks: dict[str, TaskID] = {}

    def advance(activity: str, done: int, total: int | None) -> None:
        if activity not in tasks:
            tasks[activity] = progress.add_task(activity, total=total)
        progress.update(tasks[activity], completed=done, total=total)
        # Finished bars go at once: while they are redrawn they erase a line of the training screen below.
        if progress.finished:
            progress.stop()
        else:
            progress.start()

    try:
        yield advance
    finally:
        progress.stop()


@contextmanager
def transient(line: str, shown: bool = True) -> Iterator[None]:
    """Show ``line`` on the terminal of stderr while the block runs; it leaves no trace. Elsewhere nothing is shown.

    It needs no import, so that a command can show something before it imports what takes time.
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
    """Start the backend that ``use_backend(name)`` starts, which takes seconds, and return its name.

    A terminal shows a line meanwhile; elsewhere ``progress``, the present reporter, is told. None shows nothing.
    """
    from cifarnet.runtime import choose_backend, use_backend

    chosen = choose_backend(name)
    if progress is None or "keras" in sys.modules:
        return use_backend(chosen)
    activity = f"Starting {'JAX' if chosen == 'jax' else 'TensorFlow'}"
    # As done, so that no bar is drawn: what is written to stderr during the import is held back.
    progress(activity, 1, 1)
    with transient(f"{activity} ..."):
        return use_backend(chosen)
