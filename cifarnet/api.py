"""Train with keyword arguments and lines on the progress: ``cifarnet.train``."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from cifarnet.backend.select import choose_backend, use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import invalid
from cifarnet.events import Event, EventHandler, Warned, ignore
from cifarnet.files import StrPath
from cifarnet.json_files import shown
from cifarnet.printable import printable
from cifarnet.reports.terminal.training_lines import EventLines, result_line
from cifarnet.runs.request import SAVE_INTERVAL, TrainRequest, request_of
from cifarnet.training import start
from cifarnet.training.result import Result


def train(
    request: TrainRequest | None = None,
    directory: StrPath | None = None,
    *,
    progress: bool | None = None,
    mirrors: Sequence[str] = (),
    save_interval: float = SAVE_INTERVAL,
    report: EventHandler | None = None,
    data_report: Progress | None = None,
    **options: Any,
) -> Result:
    """Train a network in a new run directory, as ``cifarnet train`` does, and return the result.

    ``cifarnet.train(depth=8, data="synthetic", recipe="fast", epochs=3)`` is the command ``cifarnet train --depth 8
    --data synthetic --recipe fast --epochs 3``. Plots and the page are written by the command alone.

    Args:
        request: what to train, for callers that keep it. Options replace its fields.
        directory: the directory of the run, which must be new or empty; by default a new one in ``runs``.
        progress: whether lines on the progress are printed. By default they are printed where somebody sees them: in a
            notebook, and when stderr is a terminal; not with ``report``. A notebook shows them as output, others get
            them on stderr.
        mirrors: addresses to try before the official ones of named data sets.
        save_interval: seconds between checkpoints within an epoch.
        report: receives the events of the run (``cifarnet.events``).
        data_report: receives the progress of reading images.
        **options: the options of ``cifarnet train``, with ``_`` for ``-``: the fields of ``TrainRequest`` and
            ``Recipe``, ``depth``, and ``output``, which is the directory. Times and lists may be words, as in
            ``budget="20m"``.

    Raises:
        InvalidValueError: for an unknown option, with the nearest one, and for invalid values.
        InterruptedRunError: when Ctrl-C or a signal stopped the run, after its state was saved.
        DivergedError: when the loss or a weight became NaN or infinite.
        StorageError: when the result can't be written. Files that were written before are intact.
        LostRunError: when the directory was deleted, moved or replaced during the training.
        CifarnetError: when data, weights or directory can't be used. Nothing has been trained then.
    """
    if not isinstance(request, TrainRequest | None):
        valid = "must be a TrainRequest, such as TrainRequest('fast')"
        raise invalid("request", valid, request, received=shown(request))
    if (output := options.pop("output", None)) is not None:
        if directory is not None:
            raise invalid("output", "is the `directory` too: give one of the two", output)
        directory = output
    for name in ("seeds", "jobs"):
        if name in options:
            remedy = "Train each seed by itself, with `seed`, or use the command"
            raise invalid(
                name, "is for the command, which trains each seed in a process", options[name], remedy=f"{remedy}."
            )
    asked = request_of(options, request)
    lines = _printer(progress, has_report=report is not None or data_report is not None)
    result = start.train(
        asked,
        directory,
        mirrors=mirrors,
        save_interval=save_interval,
        report=report or (lines.handle if lines else ignore),
        data_report=data_report or (lines.note if lines else silent),
        start_backend=lines.start_backend(use_backend) if lines else use_backend,
    )
    if lines:
        lines.print(result_line(result.to_dict()), f"The results are in {result.directory}")
    return result


class _Lines:
    """Prints the lines that the command prints into a log."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._events = EventLines()
        self._announced: set[str] = set()

    def handle(self, event: Event) -> None:
        self.print(*(event.message.split("\n") if isinstance(event, Warned) else self._events.of(event)))

    def note(self, activity: str, done: int, total: int | None) -> None:
        if activity not in self._announced:
            self._announced.add(activity)
            self.print(f"{activity} ...")

    def start_backend(self, start: Callable[[str | None], str]) -> Callable[[str | None], str]:
        def started(name: str | None) -> str:
            if "keras" not in sys.modules:
                self.print(f"Starting {'JAX' if choose_backend(name) == 'jax' else 'TensorFlow'} ...")
            return start(name)

        return started

    def print(self, *lines: str) -> None:
        for line in lines:
            print(printable(line), file=self._stream, flush=True)


def _printer(progress: bool | None, *, has_report: bool) -> _Lines | None:
    """Return what prints the lines on the progress, or None."""
    if progress is None:
        progress = not has_report and (_in_notebook() or (sys.stderr is not None and sys.stderr.isatty()))
    if not progress or sys.stderr is None:
        return None
    # Notebooks show stderr on red, as if something were wrong.
    return _Lines(sys.stdout if _in_notebook() else sys.stderr)


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
