"""Messages of a training run: warnings, and errors with the next command."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.backend.devices import device, usable_cores
from cifarnet.backend.memory import array_limit
from cifarnet.errors import CifarnetError, DivergedError, InterruptedRunError, StorageError
from cifarnet.events import EventHandler, HistoryRow, Warned
from cifarnet.plurals import counted
from cifarnet.recipes import Recipe
from cifarnet.runs.config import RunConfig
from cifarnet.shell import command_line
from cifarnet.training.checkpoint import RESTORES, Checkpoint, TrainState
from cifarnet.training.length import length_name, longer
from cifarnet.training.schedule import FULL_SIZE_STEPS, full_size_steps

if TYPE_CHECKING:
    from cifarnet.training.loop import Loop


def memory_note(inputs: object) -> tuple[str, ...]:
    """Return a note for the plan on training inputs that are not on the device; none for others."""
    from cifarnet.training.model import HostArray

    if not isinstance(inputs, HostArray):
        return ()
    array, limit = inputs.array, array_limit()
    what = "images" if array.dtype == np.uint8 else "features"
    place = "on disk" if isinstance(array, np.memmap) else "in memory"
    return (
        f"{array.nbytes / 1e9:,.1f} GB of training {what} stay {place}, because they take more than"
        f" {limit / 1e9:,.1f} GB: each step reads those that it needs",
    )


def mixing_note(recipe: Recipe) -> tuple[str, ...]:
    """Return a note for the plan on the training loss and accuracy of mixed images; none for others."""
    if not recipe.mixes_images:
        return ()
    return (
        "training loss and accuracy are those of mixed images: an answer counts by the share of its class in the label",
    )


def warn_of_short_run(recipe: Recipe, steps: int, image_size: int, report: EventHandler) -> None:
    """Warn if ``steps`` are too few for moving averages, or for the small images at the beginning of the run."""
    if not recipe.precise_batchnorm and steps < recipe.settling_steps:
        report(
            Warned(
                f"This run has {counted(steps, 'step')}. The moving averages of batch normalization need about"
                f" {recipe.settling_steps:,} to settle (momentum {recipe.batchnorm_momentum:g}), so its result may"
                " be far worse than the network. Train longer, or compute the moments from training images:"
                " `precise_batchnorm` 1024."
            )
        )
    at_full_size = full_size_steps(recipe, image_size, steps)
    if recipe.resolutions and at_full_size < FULL_SIZE_STEPS:
        report(
            Warned(
                f"This run trains {at_full_size:,} of its {counted(steps, 'step')} on images of full size ({image_size}"
                f" pixels). The result is scored at full size, and {FULL_SIZE_STEPS} or more such steps are needed for"
                " a good one: train longer, or leave out the small images (`resolutions` '')."
            )
        )


def warn_of_better_check(
    config: RunConfig, history: list[HistoryRow], held_out: str, accuracy: float, report: EventHandler
) -> None:
    """Warn if the ``accuracy`` of the result is more than one percentage point below that of the best check."""
    checked = [row for row in history if row.held_accuracy is not None]
    best = max(checked, key=lambda row: row.held_accuracy or 0.0)
    if (best.held_accuracy or 0.0) <= accuracy + 0.01:
        return
    remedy = f"Train longer (`{length_name(config)}`) or at a lower {_rates(config.recipe)}"
    if held_out == "test":
        remedy += ", or keep the best epoch with `validation_split` 0.1"
    report(
        Warned(
            f"The result has an accuracy of {accuracy:.1%} on the {held_out} images. The check after epoch {best.epoch}"
            f" had {best.held_accuracy:.1%}, at {best.image_size} pixels: training made it worse. {remedy}."
        )
    )


def warn_of_other_cores(config: RunConfig, directory: Path, report: EventHandler) -> None:
    """Warn if a resumed run has another number of processor cores than at its start."""
    cores = usable_cores()
    if device().kind == "cpu" and config.cores is not None and config.cores != cores:
        before = counted(config.cores, "core")
        report(
            Warned(
                f"The run in {directory} started on {before} and continues on {counted(cores, 'core')}. Sums are"
                " rounded in another order, so its weights will differ from those of an uninterrupted run. For equal"
                f" weights, resume it on {before}."
            )
        )


def finished_message(config: RunConfig, directory: Path) -> str:
    """Return the message for the finished run in ``directory``, with the next commands."""
    return (
        f"The run in {directory} is finished. Next:\n"
        f"  {command_line('evaluate', directory)}\n"
        f"  {command_line('predict', 'IMAGE', '--weights', directory)}\n"
        f"To train it for longer: {longer(config, directory)}"
    )


def interruption(
    directory: Path, loop: "Loop", signal_number: int | None, failure: StorageError | None
) -> CifarnetError:
    """Return the error for a run that was stopped by a signal.

    Args:
        directory: the run.
        loop: its loop.
        signal_number: the signal.
        failure: why its last state could not be saved; None if it was saved.
    """
    if failure:
        return failure.with_advice(
            "The training stopped without saving its last steps. Free some space, then continue from the last"
            f" checkpoint: {command_line('train', '--resume', directory)}"
        )
    train_state = loop.train_state
    where = f"after {train_state.epoch} of {counted(loop.epochs, 'epoch')}"
    if train_state.batch:
        where += f" and {counted(train_state.batch, 'batch')} of the next"
    return InterruptedRunError(
        f"Stopped {where}; everything is saved. Continue with: {command_line('train', '--resume', directory)}",
        signal_number or 0,
    )


def unwritten(directory: Path) -> str:
    """Return the message for a run that was stopped after its training."""
    return f"Stopped while the result was being written. Finish it with: {command_line('train', '--resume', directory)}"


def diverged(
    directory: Path, recipe: Recipe, train_state: TrainState, reason: Exception, checkpoint: Checkpoint | None
) -> DivergedError:
    """Return the error for a run with a non-finite loss or weight; ``checkpoint`` is the last good one."""
    restores = train_state.restores
    saved = f" The last good checkpoint, of step {checkpoint.train_state.step:,}, is kept." if checkpoint else ""
    tried = f", the learning rate halved {counted(restores, 'time')}" if restores else ""
    next_step = "."
    if checkpoint and restores < RESTORES:
        next_step = (
            ", or continue from there, with half the learning rate if it diverges again:"
            f" {command_line('train', '--resume', directory, '--on-nan', 'restore')}"
        )
    return DivergedError(
        f"{reason}{tried}: the training has diverged.{saved} Train again with a lower {_rates(recipe)}{next_step}"
    )


def _rates(recipe: Recipe) -> str:
    """Return the names of the learning rates of ``recipe``."""
    return "`muon` or `learning_rate`" if recipe.muon else "`learning_rate`"
