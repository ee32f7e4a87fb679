"""A checkpoint: one HDF5 file with all that resuming to the last bit needs.

It is a weight file (``cifarnet.models.weights``) with the training state beside the weights: the optimizer's and the
metrics' arrays below ``training``, and where the run stood as JSON in the attribute ``training``; the history of its
epochs, which may be tens of thousands, as JSON in the bytes of ``training/history``.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import WeightsError, wrong_content
from cifarnet.hdf5 import open_hdf5, read_json, read_tensor, write_hdf5
from cifarnet.json_files import parse
from cifarnet.models.weights import Weights, read_from, write_into
from cifarnet.training.events import HistoryRow
from cifarnet.training.schedule import Plan

if TYPE_CHECKING:
    import h5py

STATE = "training"
KINDS = ("optimizer", "metrics")
HISTORY = f"{STATE}/history"
HISTORY_LIMIT = 2**27
"""Bytes of the longest history that is read: more than half a million epochs."""


@dataclass
class Progress:
    """Where a run stands: ``batch`` batches into ``epoch`` (both from 0), ``step`` batches in all.

    ``seconds`` is the time spent so far; ``best_epoch`` counts from 1 and stays None without validation. ``plan`` says
    how long the run is (checkpoints of cifarnet 0.1 have none: no steps), ``image_size`` what the present epoch is
    trained at. ``restores`` counts how often the numbers went bad and the run went on from an earlier state.
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
        """What the recipe's learning rate is multiplied by: each restore has halved it."""
        return 0.5**self.restores


@dataclass(frozen=True)
class Checkpoint:
    """A run's whole state; ``optimizer`` and ``metrics`` are Keras's variables in their order."""

    weights: Weights
    progress: Progress
    optimizer: list[np.ndarray]
    metrics: list[np.ndarray]


def save_checkpoint(path: Path, checkpoint: Checkpoint, previous: Path | None = None) -> None:
    """Write ``checkpoint`` to the file ``path``, atomically and sealed; what it held becomes ``previous``.

    Raises:
        StorageError: when the system refuses; the file that was there still is.
    """

    def fill(file: "h5py.File") -> None:
        write_into(file, checkpoint.weights)
        shapes = {}
        for kind in KINDS:
            arrays = getattr(checkpoint, kind)
            shapes[kind] = [list(array.shape) for array in arrays]
            for index, array in enumerate(arrays):
                file.create_dataset(f"{STATE}/{kind}/{index}", data=array)
        state = asdict(checkpoint.progress)
        history = np.frombuffer(json.dumps(state.pop("history")).encode(), np.uint8)
        file.create_dataset(HISTORY, data=history, compression="gzip")
        file.attrs[STATE] = json.dumps({**state, "shapes": shapes, "history_bytes": len(history)})

    write_hdf5(path, fill, previous)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        WeightsError: when it is missing, damaged, or a weight file without a training state.
    """
    with open_hdf5(path) as file:
        weights = read_from(file, path)
        state = read_json(file, STATE, path)
        if state is None:
            raise WeightsError(f"{path} holds weights but no training state: it can be evaluated, not resumed.")
        try:
            shapes = state.pop("shapes")
            if "history" not in state:  # Cifarnet 0.1 had it here.
                state["history"] = _read_history(file, state.pop("history_bytes"), path)
            progress = _progress(state)
            arrays = {kind: _read_arrays(file, kind, shapes[kind], weights, path) for kind in KINDS}
        except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{path} has a training state that can't be read: {wrong_content(error)}.") from error
    return Checkpoint(weights, progress, **arrays)


def _progress(state: dict[str, Any]) -> Progress:
    # Cifarnet 0.1 had neither plans nor image sizes: it trained at full size.
    history = [HistoryRow(**{"image_size": 32, **row}) for row in state["history"]]
    plan = Plan(**state["plan"]) if "plan" in state else Plan(0)
    return Progress(**{**state, "history": history, "plan": plan})


def _read_history(file: "h5py.File", size: int, path: Path) -> Any:
    if size > HISTORY_LIMIT:
        raise WeightsError(f"{path}: a history has {HISTORY_LIMIT:,} bytes at most. Received: {size:,}")
    return parse(read_tensor(file, HISTORY, (size,), path, kinds="u").astype(np.uint8).tobytes())


def _read_arrays(
    file: "h5py.File", kind: str, shapes: list[list[int]], weights: Weights, path: Path
) -> list[np.ndarray]:
    # Which shapes an optimizer's state has, its own build says when it takes them; here, that none is a shape bomb.
    most = sum(tensor.size for tensor in weights.tensors.values())
    if sum(math.prod(shape) for shape in shapes) > 4 * most:
        raise WeightsError(f"{path}: the state of its {kind} is larger than any optimizer's of {weights.spec.title}.")
    return [
        read_tensor(file, f"{STATE}/{kind}/{index}", tuple(shape), path, kinds="fiu")
        for index, shape in enumerate(shapes)
    ]
