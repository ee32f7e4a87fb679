"""A checkpoint: one HDF5 file with everything that a run needs to resume with equal results to the last bit.

It is a weight file (``cifarnet.weights.formats``) with the training state in addition: the arrays of the optimizer and
of the metrics in the group ``training``, and the position in the run as JSON in the attribute ``training``. The history
is the table ``training/history`` with a row of float64 for each epoch, NaN for missing values. It is not JSON, because
it may have tens of thousands of rows. A checkpoint may come from a stranger, so its values are checked when it is read.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.events import HistoryRow
from cifarnet.fields import typed_fields
from cifarnet.hdf5 import Hdf5File, read_hdf5, write_hdf5
from cifarnet.json_files import shown
from cifarnet.models.spec import ModelSpec
from cifarnet.runs.config import RunConfig
from cifarnet.training.length import again_from_weights
from cifarnet.training.schedule import Plan, spans
from cifarnet.weights.formats.hdf5 import weights_in, write_into
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    import h5py

STATE = "training"
KINDS = ("optimizer", "metrics")
HISTORY = f"{STATE}/history"

RESTORES = 5
"""The most restores with ``on_nan="restore"``. The learning rate is then 1/32 of the recipe's."""

_EPOCHS, _STEPS, _SECONDS = 2**19, 2**48, 1e10
"""Limits of a run that can be resumed: half a million epochs, three hundred years."""
_COLUMNS = [column.name for column in fields(HistoryRow)]
_COUNTS, _OPTIONAL = {"epoch", "step", "image_size"}, {"held_loss", "held_accuracy"}


@dataclass
class TrainState:
    """The position in a run.

    Attributes:
        epoch: number of finished epochs.
        batch: number of finished batches in the current epoch.
        step: number of finished batches in all.
        seconds: the time spent so far.
        history: a row for each finished epoch.
        best_epoch: the epoch, from 1, with the best validation accuracy; None without validation.
        best_accuracy: its validation accuracy.
        plan: the length of the run; 0 steps in checkpoints of cifarnet 0.1, which had no plans.
        image_size: side in pixels of the images in the current epoch.
        restores: how often a non-finite loss or weight made the run restore a checkpoint.
    """

    epoch: int
    batch: int
    step: int
    seconds: float
    history: list[HistoryRow]
    best_epoch: int | None = None
    best_accuracy: float | None = None
    plan: Plan = field(default_factory=lambda: Plan(0))
    image_size: int = 32
    restores: int = 0

    @property
    def learning_rate_factor(self) -> float:
        """The factor of the recipe's learning rate: each restore halves it."""
        return 0.5**self.restores


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a run. ``optimizer`` and ``metrics`` are the values of Keras's variables, in order."""

    weights: Weights
    train_state: TrainState
    optimizer: list[np.ndarray]
    metrics: list[np.ndarray]


def save_checkpoint(path: Path, checkpoint: Checkpoint, previous: Path | None = None) -> None:
    """Write ``checkpoint`` to the file ``path`` atomically, with a checksum.

    Args:
        path: the file.
        checkpoint: the state to write.
        previous: the file to which an existing file at ``path`` is renamed; None to replace it.

    Raises:
        StorageError: when the file can't be written. An existing file is then unchanged.
    """

    def fill(file: "h5py.File") -> None:
        write_into(file, checkpoint.weights)
        shapes = {}
        for kind in KINDS:
            arrays = getattr(checkpoint, kind)
            shapes[kind] = [list(array.shape) for array in arrays]
            for index, array in enumerate(arrays):
                file.create_dataset(f"{STATE}/{kind}/{index}", data=array)
        # The history is left out before asdict, which would copy it.
        state = asdict(replace(checkpoint.train_state, history=[]))
        del state["history"]
        if history := checkpoint.train_state.history:
            file.create_dataset(HISTORY, data=np.array([[*vars(row).values()] for row in history], np.float64))
        file.attrs[STATE] = json.dumps({**state, "shapes": shapes})

    write_hdf5(path, fill, previous)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        WeightsError: when it is missing or damaged, or has no training state or an impossible one.
    """
    file = read_hdf5(path)
    weights = weights_in(file)
    state = file.json(STATE)
    if state is None:
        raise WeightsError(f"{path} holds weights but no training state: it can be evaluated, but not resumed.")
    try:
        stored = _Stored(**typed_fields(_Stored, state, "A training state"))
        train_state = _train_state(stored, file)
        _require_possible(train_state, weights.spec)
        arrays = {kind: _read_arrays(file, kind, stored.shapes.get(kind)) for kind in KINDS}
        for array in arrays["optimizer"]:
            if array.dtype.kind in "iu" and not ((array >= 0) & (array <= train_state.step)).all():
                raise InvalidValueError(
                    f"the optimizer counts steps from 0 to {train_state.step:,}. Received: {array!s:.60}"
                )
    # Invalid contents of the file raise this error. Any other error is a bug in cifarnet.
    except InvalidValueError as error:
        raise WeightsError(f"{path} has a training state that can't be read: {error}") from error
    return Checkpoint(weights, train_state, **arrays)


@dataclass(frozen=True)
class _Stored:
    """The JSON of a training state. In cifarnet 0.1 it had the history, and neither plans nor image sizes."""

    epoch: int
    batch: int
    step: int
    seconds: float
    shapes: dict[str, Any]
    best_epoch: int | None = None
    best_accuracy: float | None = None
    plan: dict[str, Any] | None = None
    image_size: int = 32
    restores: int = 0
    history: tuple[dict[str, Any], ...] | None = None


def _train_state(stored: _Stored, file: Hdf5File) -> TrainState:
    plan = Plan(**typed_fields(Plan, stored.plan or {"steps": 0}, "A plan"))
    if stored.history is None:
        history = _history(file, stored.epoch)
    else:
        rows = ({"image_size": 32, **row} for row in stored.history)
        history = [HistoryRow(**typed_fields(HistoryRow, row, "A row of the history")) for row in rows]
    return TrainState(
        stored.epoch,
        stored.batch,
        stored.step,
        stored.seconds,
        history,
        stored.best_epoch,
        stored.best_accuracy,
        plan,
        stored.image_size,
        stored.restores,
    )


def _history(file: Hdf5File, epochs: int) -> list[HistoryRow]:
    """Return the rows of the history of ``epochs`` epochs."""
    if not 0 <= epochs <= _EPOCHS:
        raise InvalidValueError(f"a run has at most {_EPOCHS:,} epochs. Received: {shown(epochs)}")
    if not epochs:
        return []
    table = file.numbers(HISTORY, (epochs, len(_COLUMNS)), "f").tolist()
    return [HistoryRow(**dict(zip(_COLUMNS, map(_cell, _COLUMNS, row), strict=True))) for row in table]


def _cell(column: str, value: float) -> Any:
    if column in _OPTIONAL:
        return None if math.isnan(value) else value
    return int(value) if column in _COUNTS and value.is_integer() else value


def _require_possible(train_state: TrainState, spec: ModelSpec) -> None:
    """Check that ``train_state`` is possible in a run of some recipe.

    Raises:
        InvalidValueError: when it is not. The message gives the condition that it violates.
    """
    plan, history, step = train_state.plan, train_state.history, train_state.step
    if not all(map(_is_possible, history)):
        raise InvalidValueError("its history has an impossible row")
    where = (train_state.epoch, train_state.batch, step)
    epochs, ends = [row.epoch for row in history], [0, *(row.step for row in history)]
    best = None if train_state.best_epoch is None else _accuracy_of(history, train_state.best_epoch)
    sizes = [row.image_size for row in history]
    for what, holds, received in (
        ("epoch, batch and step are whole numbers, at least 0", min(where) >= 0, where),
        (f"a run has at most {_STEPS:,} steps", max(step, plan.steps) <= _STEPS, max(step, plan.steps)),
        ("the history has a row for each epoch", len(history) == train_state.epoch, train_state.epoch),
        ("the epochs count from 1", epochs == list(range(1, len(history) + 1)), epochs),
        ("the steps of the epochs increase from 1", all(a < b for a, b in pairwise(ends)), ends),
        ("the steps are those of the epochs and the batch", step == ends[-1] + train_state.batch, step),
        ("image sizes are at most that of the network", all(0 < size <= spec.image_size for size in sizes), sizes),
        ("the image size is 1 to 1,024", 0 < train_state.image_size <= 1024, train_state.image_size),
        (f"seconds are 0 to {_SECONDS:g}", 0 <= train_state.seconds <= _SECONDS, train_state.seconds),
        ("the best accuracy is that of the best epoch", best == train_state.best_accuracy, train_state.best_accuracy),
        ("the plan begins in the trained part of the run", 0 <= plan.step <= step and 0 <= plan.position <= 1, plan),
        ("the plan ends after the trained steps", not plan.steps or step <= plan.steps, plan),
        (f"restores are 0 to {RESTORES}", 0 <= train_state.restores <= RESTORES, train_state.restores),
    ):
        if not holds:
            raise InvalidValueError(f"{what}. Received: {received!s:.100}")


def _accuracy_of(history: list[HistoryRow], epoch: int) -> float:
    """Return the accuracy on the held-out images in ``epoch``, counted from 1; NaN if it has none."""
    row = history[epoch - 1] if 1 <= epoch <= len(history) else None
    return math.nan if row is None or row.held_accuracy is None else row.held_accuracy


def _is_possible(row: HistoryRow) -> bool:
    numbers: list[object] = [row.learning_rate, row.loss, row.accuracy]
    if row.held_loss is not None or row.held_accuracy is not None:
        numbers += [row.held_loss, row.held_accuracy]
    return (
        all(type(count) is int for count in (row.epoch, row.step, row.image_size))
        and all(type(number) is float and math.isfinite(number) for number in numbers)
        and 0 <= row.accuracy <= 1
        and 0 <= (row.held_accuracy or 0.0) <= 1
    )


def require_run(checkpoint: Checkpoint, config: RunConfig, train: Dataset, directory: Path) -> None:
    """Check that ``checkpoint`` can be from the run in ``directory``.

    Args:
        checkpoint: the checkpoint.
        config: the configuration of the run.
        train: its training images.
        directory: its directory, for the message, which has the command of a new run.

    Raises:
        WeightsError: when it can't. The message names what does not fit.
    """
    recipe, weights, train_state = config.recipe, checkpoint.weights, checkpoint.train_state
    plan, rows = train_state.plan, enumerate(train_state.history)
    epoch, batch, per_epoch = train_state.epoch, train_state.batch, recipe.steps_per_epoch(len(train))
    sizes = {size for _, _, size in spans(recipe, weights.spec.image_size)}
    for what, holds in (
        ("the image size of its network", weights.spec.image_size == train.images.shape[1]),
        ("its list of classes", weights.class_names == train.class_names),
        ("the number of steps in its epochs", all(k * per_epoch < row.step <= (k + 1) * per_epoch for k, row in rows)),
        ("its number of steps", not batch or (batch <= per_epoch and train_state.step == epoch * per_epoch + batch)),
        ("its image size", not batch or train_state.image_size in sizes),
        ("its plan", config.budget is not None or (plan.step, plan.position) == (0, 0.0)),
    ):
        if not holds:
            raise WeightsError(
                f"The checkpoint in {directory} is from another run: {what} does not fit the recipe and the images in"
                " config.json. Restore the run's own checkpoint, or start a new run from its weights:"
                f" {again_from_weights(config, directory)}"
            )


def _read_arrays(file: Hdf5File, kind: str, shapes: Any) -> list[np.ndarray]:
    """Return the arrays of ``kind``. The loop checks that they fit its variables."""
    if not isinstance(shapes, list):
        raise InvalidValueError(f"the shapes of its {kind} are a list. Received: {shown(shapes)}")
    for shape in shapes:
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise InvalidValueError(f"the shapes of its {kind} are lists of whole numbers. Received: {shape!s:.60}")
    return [file.tensor(f"{STATE}/{kind}/{index}", tuple(shape), "fiu") for index, shape in enumerate(shapes)]
