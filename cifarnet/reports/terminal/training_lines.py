"""Lines on a training run for a terminal or a log: its plan, its estimated time, its epochs and its result."""

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cifarnet.durations import duration, span
from cifarnet.events import BudgetPlanned, EpochDone, Estimated, Event, Planned
from cifarnet.models.layers import residual_units
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.plurals import alternatives, counted, verb
from cifarnet.printable import printable
from cifarnet.shell import command_line

LONG_RUN = 3 * 3600.0
"""Runs that take at least this many seconds are shown with faster alternatives."""

# Reading the images is mentioned when it took more than this share of the time that is left for training.
READING_SHARE = 0.1


def plan_lines(plan: Planned) -> list[str]:
    """Return the lines on the plan of a run, one fact in each."""
    recipe = plan.recipe
    changed = recipe.changes()
    length = f"{counted(plan.epochs, 'epoch')} ({counted(plan.steps, 'step')} of {recipe.batch_size})"
    if plan.budget:
        length = f"as long as {span(plan.budget)} allow (batches of {recipe.batch_size})"
    trainable = f", {plan.trainable_params:,} of them trained (base fixed)" if plan.frozen_base else ""
    size = plan.spec.image_size
    larger = "" if size == ModelSpec().image_size else f", images of {size}x{size} pixels"
    heading = "Teachers" if len(plan.teachers) > 1 else "Teacher"
    lines = [
        f"Network   {plan.spec.title}, {counted(plan.spec.classes, 'class')}, {plan.params:,} parameters{trainable}"
        f"{larger}",
        f"Data      {printable(plan.data)}: {counted(plan.train_images, 'training image')},"
        f" {counted(plan.held_out_images, f'{plan.held_out} image')}",
        *([f"          {printable(plan.data_note)}"] if plan.data_note else []),
        f"Recipe    {recipe.name}{f' with {changed}' if changed else ''}: {length}",
        *(f"          {note}" for note in plan.notes),
        *([f"{heading:<10}{', '.join(map(printable, plan.teachers))}"] if plan.teachers else []),
        f"Device    {plan.place}, {plan.precision}",
        f"Run       {printable(str(plan.directory))}",
    ]
    if plan.device.advice:
        lines.insert(-1, f"          {plan.device.advice}")
    if plan.weights:
        grown = f", a {plan.grown_from.title}: {_added(plan.spec, plan.grown_from)}" if plan.grown_from else ""
        head = ", with a new head for these classes" if plan.new_head else ""
        lines.insert(1, f"Weights   {printable(plan.weights)}{grown}{head}")
    if plan.start_epoch or plan.start_batch:
        lines.append(
            f"Resuming  after {counted(plan.start_epoch, 'epoch')} and {counted(plan.start_batch, 'batch')} of the next"
        )
    if plan.guessed_seconds and _is_long(plan):
        time = duration(plan.guessed_seconds)
        lines.append(f"Time      roughly {time}, by the size of the network and of the data")
        lines += _faster(plan, plan.guessed_seconds)
    return lines


def _is_long(plan: Planned) -> bool:
    return (plan.guessed_seconds or 0.0) >= LONG_RUN


def _added(spec: ModelSpec, smaller: ModelSpec) -> str:
    added = residual_units(describe(spec)) - residual_units(describe(smaller))
    return f"{counted(added, 'residual unit')} added, which {verb(added, 'changes', 'change')} nothing at first"


def budget_lines(planned: BudgetPlanned) -> list[str]:
    """Return the lines on the plan of a run with a time budget."""
    sizes = ", ".join(
        f"{epochs:.1f} at {size}x{size} ({planned.images_per_second[size]:,.0f} images/s)"
        for size, epochs in planned.epochs.items()
    )
    checks = "a check after every epoch" if not planned.checks else f"{planned.checks} checks"
    lines = [
        f"Plan      {sum(planned.epochs.values()):.1f} epochs ({counted(planned.steps, 'step')}) in the"
        f" {duration(planned.seconds_left)} left: {sizes}; {'one check' if planned.checks == 1 else checks}"
    ]
    if planned.data_seconds > READING_SHARE * planned.seconds_left:
        lines.append(f"          Reading the images took {duration(planned.data_seconds)} of the budget.")
    return lines


def estimate_lines(estimate: Estimated, plan: Planned) -> list[str]:
    """Return the line on the estimated time and, for a long run, the alternatives that take less time."""
    lines = [
        f"Time      about {duration(estimate.seconds_left)} to go"
        f" ({duration(estimate.seconds_per_epoch)} an epoch, {estimate.images_per_second:,.0f} images/s)"
    ]
    # The plan has shown the alternatives already when its guess was long.
    if estimate.seconds_left < LONG_RUN or _is_long(plan):
        return lines
    return lines + _faster(plan, estimate.seconds_left)


def _faster(plan: Planned, seconds_left: float) -> list[str]:
    """Return the alternatives to a run of ``seconds_left`` that take less time, one in each line."""
    if not (advice := plan.advice):
        return []
    resumed = plan.start_epoch or plan.start_batch
    lines = [f"          Ctrl-C stops and saves. What would be sooner{', as a new run' if resumed else ''}:"]
    without = f" without {alternatives(advice.replaced)}" if advice.replaced else ""
    outcome = "the best that can be made of this time"
    if advice.reached:
        (_, accuracy), *more = advice.reached
        longer = ", ".join(f"--budget {each}: {reached}" for each, reached in more)
        outcome = f"{accuracy} on CIFAR-10 with two CPU cores ({longer})"
    lines.append(f"          --budget {advice.budget}{without}: {outcome}")
    if advice.smaller_model is not None:
        time = duration(seconds_left * advice.smaller_share)
        lines.append(f"          --model {advice.smaller_model}: about {time} in all")
    if advice.gpu_packages:
        lines.append(f"          a machine with an NVIDIA GPU, after: {advice.gpu_packages}")
    return lines


def epoch_line(event: EpochDone, width: int | None = None) -> str:
    """Return the line on a finished epoch, in columns.

    Where ``width`` characters are too few, the least important columns are left out.
    """
    row, digits = event.row, len(str(event.epochs))
    number, loss, accuracy = f"{row.epoch:>{digits}}/{event.epochs}", f"loss {row.loss:.3f}", f"acc {row.accuracy:.2%}"
    held = ""
    if row.held_loss is not None and row.held_accuracy is not None:
        held = f"  {event.held_out} loss {row.held_loss:.3f} acc {row.held_accuracy:.2%}"
    best = "  best" if event.best else ""
    speed = "" if event.images_per_second is None else f"  {event.images_per_second:,.0f} images/s"
    rate, seconds = f"  lr {row.learning_rate:.3g}", f"  {duration(event.seconds)}"
    forms = (
        f"Epoch {number}  {loss} {accuracy}{held}{rate}{seconds}{speed}",
        f"Epoch {number}  {loss} {accuracy}{held}{rate}{seconds}",
        f"Epoch {number}  {loss} {accuracy}{held}{seconds}",
        f"Epoch {number}  {loss} {accuracy}{held}",
        f"{number}  {loss} {accuracy}{held}",
        f"{number}  {accuracy}{held}",
        f"{number}{held or f'  {loss} {accuracy}'}",
    )
    # Room for the word "best" is kept in each line, so that all lines have the same columns.
    room = 6 if event.held_out == "validation" else len(best)
    return next((form for form in forms if width is None or len(form) + room <= width), forms[-1]) + best


class EventLines:
    """Returns the lines for each event of a run; no lines for events that are not shown."""

    def __init__(self) -> None:
        self._plan: Planned | None = None

    def of(self, event: Event, width: int | None = None) -> list[str]:
        """Return the lines for ``event``. ``width`` is that of ``epoch_line``."""
        if isinstance(event, Planned):
            self._plan = event
            return plan_lines(event)
        if isinstance(event, BudgetPlanned):
            return budget_lines(event)
        if isinstance(event, Estimated) and self._plan:
            return estimate_lines(event, self._plan)
        return [epoch_line(event, width)] if isinstance(event, EpochDone) else []


def wrapped(line: str, width: int | None, indent: int) -> list[str]:
    """Return ``line`` wrapped between words at ``width`` characters; further lines are indented by ``indent``.

    Words and paths are not broken.
    """
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(
        line,
        max(width, indent + 10),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )


def render_result(result: Mapping[str, Any], directory: str) -> RenderableType:
    """Return the lines on a finished run: its accuracy, its directory, and the next commands.

    ``result`` has the keys of metrics.json.
    """
    return Group(
        Text(result_line(result)),
        Text(f"The results are in {directory}; open {directory}/report.html. Next:"),
        Text(f"  {command_line('evaluate', directory)}"),
        Text(f"  {command_line('predict', 'IMAGE', '--weights', directory)}"),
    )


def result_line(result: Mapping[str, Any]) -> str:
    """Return the line on the accuracy of a finished run. ``result`` has the keys of metrics.json."""
    low, high = result["accuracy_interval"]
    return (
        f"Test accuracy {result['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}),"
        f" loss {result['loss']:.4f}; epoch {result['epoch']} ({result['selected_by']}),"
        f" trained in {duration(result['training_seconds'])}"
    )
