"""Where output goes: data to stdout, messages and progress to stderr; both respect NO_COLOR."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from cifarnet.data.dataset import LeftOut


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


def tell_left_out(left_out: Iterable["LeftOut"]) -> None:
    """Print one line on stderr for each kind of files of a source that are not read."""
    from cifarnet.reports.text import printable

    for files in left_out:
        stderr().print(printable(files.line), style="yellow", markup=False, soft_wrap=True)


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
