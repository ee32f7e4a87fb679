"""A training run on the terminal: bars while it goes on, a line per finished epoch that stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifarnet.cli import console
from cifarnet.reports.training import budget_lines, duration, epoch_line, estimate_lines, plan_lines
from cifarnet.training.events import (
    BudgetPlanned,
    Classifying,
    EpochDone,
    Estimated,
    Event,
    Measuring,
    Planned,
    Report,
    StepDone,
    Warned,
    ignore,
)

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def training_screen(quiet: bool) -> Iterator[Report]:
    """Yield a ``report`` that shows a run's events on stderr, as its terminal allows."""
    if quiet:
        yield ignore
        return
    out = console.stderr()
    lines = _Lines(out)
    if not out.is_terminal:
        yield lines.tell
        return
    with _bars(out) as bars:

        def tell(event: Event) -> None:
            bars.tell(event)
            lines.tell(event)

        yield tell


class _Lines:
    """What stays on the screen, and all that a log gets."""

    def __init__(self, out: "Console"):
        self.out = out
        self.plan: Planned | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.plan = event
            self._print(plan_lines(event))
        elif isinstance(event, Warned):
            self.out.print(event.message, style="yellow", markup=False, soft_wrap=True)
        elif isinstance(event, BudgetPlanned):
            self._print(budget_lines(event))
        elif isinstance(event, Estimated) and self.plan:
            self._print(estimate_lines(event, self.plan))
        elif isinstance(event, EpochDone):
            self._print([epoch_line(event)])

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            self.out.print(line, markup=False, soft_wrap=True)


class _Bars:
    """Two bars: the epochs of the run and the steps of the epoch."""

    def __init__(self, out: "Console"):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=out,
            transient=True,
        )
        self.epochs = self.progress.add_task("epochs", total=None, facts="", visible=False)
        self.steps = self.progress.add_task("steps ", total=None, facts="starting", visible=False)

    def tell(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.progress.update(self.epochs, total=event.epochs, completed=event.start_epoch, visible=True)
            self.progress.update(self.steps, visible=True)
        elif isinstance(event, Measuring):
            self.progress.update(self.steps, facts=f"timing steps on {event.image_size}x{event.image_size} pixels")
        elif isinstance(event, StepDone):
            left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"
            speed = "" if event.images_per_second is None else f" {event.images_per_second:,.0f} images/s"
            facts = f"loss {event.loss:.3f} acc {event.accuracy:.1%} lr {event.learning_rate:.3g}{speed}"
            self.progress.update(self.epochs, facts=left)
            self.progress.update(self.steps, total=event.batches, completed=event.batch, facts=facts)
        elif isinstance(event, Classifying):
            self.progress.update(self.steps, facts=f"classifying {event.done:,} of {event.total:,} held-out images")
        elif isinstance(event, EpochDone):
            self.progress.update(self.epochs, total=event.epochs, completed=event.row.epoch)


@contextmanager
def _bars(out: "Console") -> Iterator[_Bars]:
    bars = _Bars(out)
    with bars.progress:
        yield bars
