"""The live frame of a training run, drawn from its events for the current size of the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from cifarnet.durations import duration
from cifarnet.events import Classifying, EpochDone, Event, Measuring, Planned, StepDone
from cifarnet.plurals import counted
from cifarnet.printable import printable
from cifarnet.reports.terminal.braille import HELD_OUT, TRAINING, curve

_LABEL = 8  # Cells of the labels on the left.
_VALUE = 6  # Cells of the scale of a curve.
_BAR_WIDTH = 30
_CURVE_WIDTH = 60
_CURVE_HEIGHTS = (3, 6)  # A low frame still fits a terminal that was narrowed, which wraps its lines.


@dataclass(frozen=True)
class Screen:
    """What a terminal can show: its size in characters, only ASCII or all of Unicode, and colours or none."""

    width: int
    height: int
    ascii_only: bool = False
    coloured: bool = True


class TrainingFrame:
    """The state of a run by its events so far; ``frame`` draws it."""

    def __init__(self) -> None:
        self.plan: Planned | None = None
        self.step: StepDone | None = None
        self.epochs: list[EpochDone] = []
        self.activity = "starting"

    def note(self, event: Event) -> None:
        """Update the state by an event."""
        if isinstance(event, Planned):
            self.plan = event
            self.epochs = [
                EpochDone(row, event.epochs, event.held_out, 0.0, None, row.epoch == event.best_epoch)
                for row in event.history
            ]
        elif isinstance(event, Measuring):
            self.activity = f"timing steps on {event.image_size}x{event.image_size} pixels"
        elif isinstance(event, StepDone):
            self.step, self.activity = event, ""
        elif isinstance(event, Classifying):
            held_out = self.plan.held_out if self.plan else "held-out"
            self.activity = f"classifying {event.done:,} of {counted(event.total, f'{held_out} image')}"
        elif isinstance(event, EpochDone):
            # A run that restores its last checkpoint after a NaN trains some epochs again.
            kept = [done for done in self.epochs if done.row.epoch < event.row.epoch]
            self.epochs, self.activity = [*kept, event], ""

    def note_progress(self, activity: str, done: int, total: int | None) -> None:
        """Show that ``done`` items of ``total`` (None where unknown) of an ``activity`` are finished."""
        self.activity = printable(activity) + (f": {done:,} of {total:,}" if total else "")

    def frame(self, screen: Screen) -> list[Text]:
        """Return lines that leave a row and a column of ``screen`` free.

        In a low terminal the curves are left out first, then the heading, the best epoch and the last epoch.
        """
        if not self.plan:
            return []
        plan, width = self.plan, screen.width - 1
        heading = [Text(), self._heading(plan, screen)]
        best, last = ([self._result(name, done, width)] if done else [] for name, done in self._results())
        bars = [self._epoch_bar(plan, screen), *self._step_bar(screen)]
        lines = [*heading, *bars, *last, *best]
        for optional in (heading, best, last):
            if len(lines) < screen.height:
                break
            lines = [line for line in lines if not any(line is left_out for left_out in optional)]
        # Some lines of the last epochs stay visible above the frame.
        spare = screen.height - len(lines) - 3 - min(6, screen.height // 4)
        lines += self._curves(screen, min(spare, _CURVE_HEIGHTS[1]))
        lines = lines[-max(1, screen.height - 1) :]
        for line in lines:
            if screen.ascii_only:
                line.plain = line.plain.encode("ascii", "backslashreplace").decode()
            line.truncate(width, overflow="crop")
            line.rstrip()
        return lines

    def _heading(self, plan: Planned, screen: Screen) -> Text:
        parts = [
            plan.spec.title,
            f"recipe {plan.recipe.name}",
            plan.place,
            plan.precision,
            plan.data,
            str(plan.directory),
        ]
        separator = " - " if screen.ascii_only else " · "
        return Text(_fitting([printable(part) for part in parts], separator, screen.width - 1), style="bold")

    def _epoch_bar(self, plan: Planned, screen: Screen) -> Text:
        done, share = plan.start_epoch, plan.start_epoch / max(1, plan.epochs)
        total, left = plan.epochs, ""
        if self.epochs:
            done, total = self.epochs[-1].row.epoch, self.epochs[-1].epochs
            share = done / total
        if self.step:
            if self.step.epoch > done:
                share = (self.step.epoch - 1 + self.step.batch / self.step.batches) / max(1, total)
            if self.step.seconds_left is not None:
                left = f"  {duration(self.step.seconds_left)} left"
        return _bar("epochs", share, f"{done}/{total}{left}", screen)

    def _step_bar(self, screen: Screen) -> list[Text]:
        """Return the bar of the epoch's steps and the line below it: its figures, or the current activity."""
        if not self.step:
            return [Text(f"{'steps':<{_LABEL}}{self.activity}")]
        step = self.step
        facts = [f"loss {step.loss:.3f}", f"acc {step.accuracy:.1%}", f"lr {step.learning_rate:.3g}"]
        if step.images_per_second is not None:
            facts.append(f"{step.images_per_second:,.0f} images/s")
        status = self.activity or _fitting(facts, " ", screen.width - 1 - _LABEL)
        bar = _bar("steps", step.batch / step.batches, f"{step.batch}/{step.batches}", screen)
        return [bar, Text(f"{'':<{_LABEL}}{status}")]

    def _results(self) -> list[tuple[str, EpochDone | None]]:
        """Return the best epoch and the last epoch with their labels."""
        checked = [done for done in self.epochs if done.row.held_accuracy is not None]
        # With validation images, the run marks its best epoch. Test images select nothing, so the epoch with the
        # highest accuracy is shown.
        chosen = [done for done in checked if done.best][-1:]
        best = chosen or sorted(checked, key=lambda done: -(done.row.held_accuracy or 0.0))[:1]
        return [("best", best[0] if best else None), ("last", self.epochs[-1] if self.epochs else None)]

    def _result(self, name: str, done: EpochDone, width: int) -> Text:
        row = done.row
        figures = []
        if row.held_loss is not None and row.held_accuracy is not None:
            figures = [f"{done.held_out} acc {row.held_accuracy:.2%}", f"loss {row.held_loss:.3f}"]
        if name == "last":
            figures.append(f"training acc {row.accuracy:.2%} loss {row.loss:.3f}")
        label = f"{name:<{_LABEL}}epoch {row.epoch}"
        return Text(_fitting([f"{label}  {figures[0]}", *figures[1:]], "  ", width))

    def _curves(self, screen: Screen, height: int) -> list[Text]:
        """Return the curves of loss and accuracy side by side; in a narrow terminal, of the accuracy alone."""
        rows = [done.row for done in self.epochs]
        if len(rows) < 2 or height < _CURVE_HEIGHTS[0]:
            return []
        figures = [
            # The held-out loss of the first epochs can be ten times that of the last.
            ("loss (log scale)", [row.loss for row in rows], [row.held_loss for row in rows], _loss_value),
            ("accuracy", [row.accuracy for row in rows], [row.held_accuracy for row in rows], "{:.1%}".format),
        ]
        gap = 2
        each = min(_CURVE_WIDTH, (screen.width - 1 - gap) // 2)
        if each < 24:
            figures, each = figures[1:], screen.width - 1
        if each < 24:
            return []
        span = f"epochs {rows[0].epoch} to {rows[-1].epoch}"
        columns = [_panel(*figure, span, each, height, screen) for figure in figures]
        lines = [_side_by_side(cells, each + gap) for cells in zip(*columns, strict=True)]
        return [_legend(self.epochs[-1].held_out, screen), *lines]


def _bar(name: str, share: float, counts: str, screen: Screen) -> Text:
    full, empty = ("#", ".") if screen.ascii_only else ("━", "·")
    width = min(_BAR_WIDTH, screen.width - 1 - _LABEL - 2 - 24)
    line = Text(f"{name:<{_LABEL}}")
    if width >= 6:
        filled = int(width * min(1.0, max(0.0, share)))
        line.append(full * filled, "green").append(empty * (width - filled), "dim").append("  ")
    return line.append(counts)


def _panel(
    name: str,
    training: Sequence[float | None],
    held_out: Sequence[float | None],
    form: Callable[[float], str],
    span: str,
    width: int,
    height: int,
    screen: Screen,
) -> list[Text]:
    """Return ``height`` + 2 lines: the name, the curve with its scale on the left, and the epochs."""
    lines, low, high = curve(
        training,
        held_out,
        width - _VALUE - 2,
        height,
        logarithmic="log" in name,
        ascii_only=screen.ascii_only,
        coloured=screen.coloured,
    )
    scale = [""] * height
    scale[0], scale[-1] = form(high), form(low)
    rule = "|" if screen.ascii_only else "│"
    drawn = [
        Text(f"{value:>{_VALUE}} {rule}", "dim").append_text(line) for value, line in zip(scale, lines, strict=True)
    ]
    return [Text(f"{'':<{_VALUE + 2}}{name}"), *drawn, Text(f"{'':<{_VALUE + 2}}{span}", "dim")]


def _loss_value(loss: float) -> str:
    """Return a loss in at most ``_VALUE`` cells; a diverging loss may have more digits than that."""
    return f"{loss:#.4g}".rstrip(".") if 0.1 <= loss < 1e4 else f"{loss:.0e}" if loss >= 1e4 else f"{loss:.4f}"


def _legend(held_out: str, screen: Screen) -> Text:
    training = "." if screen.ascii_only else "⠒"
    other = "o" if screen.ascii_only or not screen.coloured else training
    legend = Text(" " * (_VALUE + 2))
    legend.append(training, TRAINING).append(" training   ")
    return legend.append(other, HELD_OUT).append(f" {held_out}")


def _side_by_side(cells: Sequence[Text], width: int) -> Text:
    line = Text()
    for cell in cells[:-1]:
        line.append_text(cell).append(" " * (width - cell.cell_len))
    return line.append_text(cells[-1])


def _fitting(parts: Sequence[str], separator: str, width: int) -> str:
    """Join the first ``parts``, as many as fit ``width`` cells, but at least one."""
    return next(
        (text for count in range(len(parts), 1, -1) if cell_len(text := separator.join(parts[:count])) <= width),
        parts[0],
    )


def rows_after_wrapping(lines: Sequence[Text], width: int) -> int:
    """Return the rows of ``lines`` in a terminal that was narrowed to ``width`` columns, which wraps them."""
    return sum(max(1, math.ceil(line.cell_len / width)) for line in lines)
