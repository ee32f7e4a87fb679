"""A training run in words: its plan, its estimate, its epochs and its result."""

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cifarnet.durations import duration, span
from cifarnet.models.description import total_macs
from cifarnet.models.resnet import describe
from cifarnet.models.spec import ModelSpec
from cifarnet.reports.text import printable
from cifarnet.runtime import gpu_packages
from cifarnet.training.events import BudgetPlanned, EpochDone, Estimated, Planned

LONG_RUN = 3 * 3600.0
"""Runs that take at least this many seconds are shown with faster alternatives."""

# Training a ResNet-20 on images of full size, by one core of a CPU: 400 images/s on two AVX2 cores, 223 on two Zen 1
# cores, 750 on one with AMX (benchmarks/README.md).
_CPU_IMAGES_PER_SECOND = 200.0

# Of ResNet-20 on CIFAR-10, on two AVX2 cores: the table in README.md.
BUDGETS = {"20m": "85.6 %", "2h": "88.5 %"}

# Reading the images is mentioned when it took more than this share of the training time left.
READING_SHARE = 0.1


def plan_lines(plan: Planned) -> list[str]:
    """What is about to be trained, a fact a line."""
    recipe = plan.recipe
    differences = {k: v for k, v in recipe.differences(plan.spec.depth).items() if v is not None}
    changed = ", ".join(f"{name} {value}" for name, value in differences.items())
    length = f"{plan.epochs} {'epoch' if plan.epochs == 1 else 'epochs'} ({plan.steps:,} steps of {recipe.batch_size})"
    if plan.budget:
        length = f"as long as {span(plan.budget)} allow (batches of {recipe.batch_size})"
    trainable = f", {plan.trainable_params:,} of them trained (base fixed)" if plan.frozen_base else ""
    lines = [
        f"Network   {plan.spec.title}, {plan.spec.classes} classes, {plan.params:,} parameters{trainable}",
        f"Data      {printable(plan.data)}: {plan.train_images:,} training images,"
        f" {plan.held_out_images:,} {plan.held_out} images",
        f"Recipe    {recipe.name}{f' with {changed}' if changed else ''}: {length}",
        *(f"          {note}" for note in plan.notes),
        f"Device    {plan.device}, {plan.precision}",
        f"Run       {printable(str(plan.directory))}",
    ]
    if plan.teacher:
        lines.insert(3, f"Teacher   {printable(plan.teacher)}")
    if plan.device.advice:
        lines.insert(-1, f"          {plan.device.advice}")
    if plan.weights:
        grown = f", a {plan.grown_from.title}: {_added(plan)}" if plan.grown_from else ""
        head = "; the head begins anew, for these classes" if plan.new_head else ""
        lines.insert(1, f"Weights   {printable(plan.weights)}{grown}{head}")
    if plan.start_epoch or plan.start_batch:
        lines.append(f"Resuming  after {plan.start_epoch} epochs and {plan.start_batch} batches of the next")
    if _is_long(plan) and (guess := guessed_seconds(plan)):
        lines.append(f"Time      roughly {duration(guess)}, by the size of the network and of the data")
        lines += _sooner(plan, guess)
    return lines


def guessed_seconds(plan: Planned) -> float | None:
    """Return roughly how many seconds a run takes on a CPU, to within a factor of about three; None where unknown.

    The guess is shown before any step was timed: the first steps of a large network take minutes.
    """
    head_alone = plan.frozen_base and not plan.recipe.varies_images
    if plan.device.kind != "cpu" or plan.budget or head_alone:
        return None
    image_size = plan.spec.image_size
    shrunk = sum(share * (1 - (side / image_size) ** 2) for side, share in plan.recipe.resolutions if side < image_size)
    epochs_left = plan.epochs - plan.start_epoch
    images = min(plan.steps * plan.recipe.batch_size, epochs_left * plan.train_images) * (1 - shrunk)
    size = _macs(plan.spec) / _macs(ModelSpec())
    return images * size / (_CPU_IMAGES_PER_SECOND * plan.device.cores)


def _is_long(plan: Planned) -> bool:
    return (guessed_seconds(plan) or 0.0) >= LONG_RUN


def _macs(spec: ModelSpec) -> int:
    return total_macs(describe(spec))


def _added(plan: Planned) -> str:
    added = plan.spec.units_per_stage - (plan.grown_from or plan.spec).units_per_stage
    return f"{added} residual unit{'s' if added > 1 else ''} added to each stage, which change nothing at first"


def budget_lines(planned: BudgetPlanned) -> list[str]:
    """Return the lines on the plan of a run with a time budget."""
    sizes = ", ".join(
        f"{epochs:.1f} at {size}x{size} ({planned.images_per_second[size]:,.0f} images/s)"
        for size, epochs in planned.epochs.items()
    )
    checks = "a check after every epoch" if not planned.checks else f"{planned.checks} checks"
    lines = [
        f"Plan      {sum(planned.epochs.values()):.1f} epochs ({planned.steps:,} steps) in the"
        f" {duration(planned.seconds_left)} left: {sizes}; {'one check' if planned.checks == 1 else checks}"
    ]
    if planned.data_seconds > READING_SHARE * planned.seconds_left:
        lines.append(f"          Reading the images took {duration(planned.data_seconds)} of the budget.")
    return lines


def estimate_lines(estimate: Estimated, plan: Planned) -> list[str]:
    """How long it will take and, where that is very long, what to do instead."""
    lines = [
        f"Time      about {duration(estimate.seconds_left)} to go"
        f" ({duration(estimate.seconds_per_epoch)} an epoch, {estimate.images_per_second:,.0f} images/s)"
    ]
    # For a long run the plan has shown the alternatives already.
    if estimate.seconds_left < LONG_RUN or _is_long(plan):
        return lines
    return lines + _sooner(plan, estimate.seconds_left)


def _sooner(plan: Planned, seconds_left: float) -> list[str]:
    """Return faster alternatives to a run of ``seconds_left``, one a line."""
    resumed = plan.start_epoch or plan.start_batch
    lines = [f"          Ctrl-C stops and saves. What would be sooner{', as a new run' if resumed else ''}:"]
    budget, *more = BUDGETS
    if plan.weights:
        lines.append(f"          --budget {budget}{_in_place_of(plan)}: the best that can be made of this time")
    else:
        smaller = "" if plan.spec.depth == ModelSpec().depth else f"--depth {ModelSpec().depth} "
        longer = ", ".join(f"--budget {each}: {BUDGETS[each]}" for each in more)
        lines.append(
            f"          {smaller}--budget {budget}{_in_place_of(plan)}: {BUDGETS[budget]} on CIFAR-10 with two CPU"
            f" cores ({longer})"
        )
    # Networks grow from weights, they don't shrink.
    depth = plan.spec.depth if plan.weights and not plan.grown_from else (plan.grown_from or ModelSpec()).depth
    if plan.spec.depth > depth and not resumed:
        share = _macs(ModelSpec(depth, plan.spec.classes, plan.spec.image_size)) / _macs(plan.spec)
        lines.append(f"          --depth {depth}: about {duration(seconds_left * share)} in all")
    if plan.device.kind == "cpu":
        lines.append(f"          a machine with an NVIDIA GPU, after: {gpu_packages(plan.device.backend)}")
    return lines


def _in_place_of(plan: Planned) -> str:
    """Return the run's options that a budget replaces, as the middle of a sentence."""
    default = "fine-tune" if plan.weights else "documented"
    named = ["--recipe"] if plan.recipe.name not in (default, "fast") else []
    changed = plan.recipe.differences(plan.spec.depth)
    named += [f"--{name}" for name in ("epochs", "steps") if changed.get(name) is not None]
    return f" in place of {' and '.join(named)}" if named else ""


def epoch_line(event: EpochDone, width: int | None = None) -> str:
    """One finished epoch, in columns; where ``width`` characters are not enough, without those needed least."""
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
    # The word "best" has its room kept, so that the lines of all epochs have the same columns.
    room = 6 if event.held_out == "validation" else len(best)
    return next((form for form in forms if width is None or len(form) + room <= width), forms[-1]) + best


def wrapped(line: str, width: int | None, indent: int) -> list[str]:
    """``line`` broken between words at ``width`` characters, the rest ``indent`` deep; words and paths stay whole."""
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
    """What was reached, where it is, and the next two commands; ``result`` is what metrics.json holds."""
    low, high = result["accuracy_interval"]
    return Group(
        Text(
            f"Test accuracy {result['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}),"
            f" loss {result['loss']:.4f}; epoch {result['epoch']} ({result['selected_by']}),"
            f" trained in {duration(result['training_seconds'])}"
        ),
        Text(f"Everything is in {directory}; to look at: {directory}/report.html. Next:"),
        Text(f"  cifarnet evaluate {directory}"),
        Text(f"  cifarnet predict IMAGE --weights {directory}"),
    )
