"""Make a run longer. The result is that of a run that had the new length from the beginning."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet.errors import InvalidValueError
from cifarnet.fields import option_name, received, typed_values
from cifarnet.plurals import counted, plural
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.request import LENGTHS, require_one_length
from cifarnet.shell import command_line, shell_line
from cifarnet.training.schedule import Plan

if TYPE_CHECKING:
    from cifarnet.training.checkpoint import Checkpoint, TrainState

# A new run takes the network of its weights, and the default backend, precision and compilation of its machine.
_CHOSEN_AGAIN = ("model", "precision", "jit", "backend")


def with_length(config: RunConfig, directory: Path, length: dict[str, Any]) -> RunConfig:
    """Return ``config`` with a new total length.

    Args:
        config: the configuration of the run in ``directory``.
        directory: the run.
        length: at most one of ``epochs``, ``steps`` and ``budget``; the others are None.

    Raises:
        InvalidValueError: when the schedule of the run depends on its length. The message has the command that
            continues from its weights in a new run.
    """
    typed = {
        **typed_values(Recipe, {name: length.get(name) for name in ("epochs", "steps")}),
        **typed_values(RunConfig, {"budget": length.get("budget")}),
    }
    given = {name: value for name, value in typed.items() if value is not None}
    if not given:
        return config
    require_one_length(given)
    if config.budget is None and "budget" not in given and not (reason := _planned_for_length(config.recipe)):
        return replace(config, recipe=config.recipe.with_changes(**given))
    if config.budget is not None or "budget" in given:
        reason = "a budget plans the whole run"
    raise InvalidValueError(
        f"The run in {directory} can't be made longer: {reason}. Continue from its weights in a new run:"
        f" {_new_run(config, directory, _words(given))}\n"
        f"Received: {received(given, LENGTHS)}"
    )


def longer(config: RunConfig, directory: Path) -> str:
    """Return the command that trains the finished run in ``directory`` for longer, with N or TIME for its length."""
    if config.budget is not None or _planned_for_length(config.recipe):
        return longer_from_weights(config, directory)
    unit = length_name(config)
    return f"{command_line('train', '--resume', directory, option_name(unit), 'N')}, with N {unit} in all"


def length_name(config: RunConfig) -> str:
    """Return the name of the option that gives the length of a run: ``budget``, ``steps`` or ``epochs``."""
    if config.budget is not None:
        return "budget"
    return "steps" if config.recipe.steps else "epochs"


def longer_from_weights(config: RunConfig, directory: Path) -> str:
    """Return the command of a new run from the weights of the run in ``directory``, with N or TIME for its length."""
    return _new_run(config, directory, {"epochs": "N"} if config.budget is None else {"budget": "TIME"})


def again_from_weights(config: RunConfig, directory: Path) -> str:
    """Return the command of a new run from the weights of the run in ``directory``, with the same length."""
    length = config.recipe.length if config.budget is None else {"budget": config.budget}
    return _new_run(config, directory, _words(length))


def at_length(checkpoint: "Checkpoint", config: RunConfig, images: int, directory: Path) -> None:
    """Change the plan of ``checkpoint`` to the length in ``config``.

    An epoch that the former end cut short is continued.

    Args:
        checkpoint: a checkpoint of the run in ``directory``; its train state is changed.
        config: the configuration of the run.
        images: the number of its training images.
        directory: the run.

    Raises:
        InvalidValueError: when the run is already longer, or an epoch that was cut short can't be continued.
    """
    train_state, recipe = checkpoint.train_state, config.recipe
    if config.budget is not None:
        return
    per_epoch, steps = recipe.steps_per_epoch(images), recipe.total_steps(images)
    if steps == train_state.plan.steps:
        return
    if train_state.plan.steps and steps <= train_state.step:
        epochs = train_state.step / per_epoch
        done = counted(train_state.step, "step") if recipe.steps else f"{epochs:g} {plural(epochs, 'epoch')}"
        raise InvalidValueError(
            f"The run in {directory} has been trained for {done}: its new length must be greater. Received:"
            f" {_received(recipe)}"
        )
    train_state.plan = Plan(steps)
    batch = train_state.step % per_epoch
    if train_state.batch == 0 and batch and steps > train_state.step:
        _reopen(checkpoint, batch, config, directory)


def _reopen(checkpoint: "Checkpoint", batch: int, config: RunConfig, directory: Path) -> None:
    """Undo the end of the last epoch, so that it continues after ``batch`` batches."""
    train_state = checkpoint.train_state
    if not checkpoint.metrics or train_state.best_epoch == train_state.epoch:
        reason = (
            "it is the best epoch, and the weights of the best epoch before it are not kept"
            if checkpoint.metrics
            else "the version of cifarnet that wrote it did not keep its running means"
        )
        raise InvalidValueError(
            f"The last epoch of the run in {directory} was cut short after {counted(batch, 'batch')} and can't be"
            f" continued: {reason}. Continue from its weights in a new run:"
            f" {_new_run(config, directory, _words(config.recipe.length))}\nReceived: {_received(config.recipe)}"
        )
    train_state.epoch, train_state.batch = train_state.epoch - 1, batch
    del train_state.history[-1]
    _choose_best(train_state)


def _choose_best(train_state: "TrainState") -> None:
    """Set the best epoch of ``train_state`` from its history, if the run selects one."""
    if train_state.best_epoch is None:
        return
    checked = [row for row in train_state.history if row.held_accuracy is not None]
    best = max(checked, key=lambda row: row.held_accuracy or 0.0)  # The first of equal ones, as in training.
    train_state.best_epoch, train_state.best_accuracy = best.epoch, best.held_accuracy


def _planned_for_length(recipe: Recipe) -> str | None:
    """Return why a run of ``recipe`` depends on its planned length; None if it does not."""
    for name, what in (
        ("cycle_peak", "its learning rate falls to zero at the end of the planned run (`cycle_peak`)"),
        ("resolutions", "its image sizes are shares of the planned run (`resolutions`)"),
        ("checks", "its checks are spread over the planned run (`checks`)"),
    ):
        if getattr(recipe, name):
            return what
    return None


def _new_run(config: RunConfig, directory: Path, length: Mapping[str, str]) -> str:
    """Return the command of a new run that starts from the weights of the run in ``directory``.

    ``length`` has the word of the option that gives its length.
    """
    run = str(directory.resolve())
    config = replace(config, weights=run, weights_path=run)
    if "budget" in length and not config.recipe.cycle_peak:
        config = replace(config, recipe=RECIPES["fast"].for_model(config.model))
    words = config.command(directory.resolve() / files.CONFIG, without=(*LENGTHS, *_CHOSEN_AGAIN))
    return shell_line(words + [word for name, text in length.items() for word in (option_name(name), text)])


def _words(length: Mapping[str, Any]) -> dict[str, str]:
    """Return the words of the ``length`` that is given; the others are None."""
    return {name: LENGTHS[name].text(value) for name, value in length.items() if value is not None}


def _received(recipe: Recipe) -> str:
    return received({name: value for name, value in recipe.length.items() if value is not None}, LENGTHS)
