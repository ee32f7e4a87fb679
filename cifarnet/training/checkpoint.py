"""A checkpoint: one HDF5 file with all that resuming to the last bit needs.

It is a weight file (``cifarnet.models.weights``) with the training state beside the weights: the optimizer's and the
metrics' arrays below ``training``, and where the run stood as JSON in the attribute ``training``.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import WeightsError
from cifarnet.files import replacing
from cifarnet.models.weights import Weights, open_hdf5, read_from, read_tensor, write_into
from cifarnet.training.events import HistoryRow
from cifarnet.training.schedule import Plan

if TYPE_CHECKING:
    import h5py

STATE = "training"


@dataclass
class Progress:
    """Where a run stands: ``batch`` batches into ``epoch`` (both from 0), ``step`` batches in all.

    ``seconds`` is the time spent so far; ``best_epoch`` counts from 1 and stays None without validation. ``plan`` says
    how long the run is (checkpoints of cifarnet 0.1 have none: no steps), ``image_size`` what the present epoch is
    trained at.
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


@dataclass(frozen=True)
class Checkpoint:
    """A run's whole state; ``optimizer`` and ``metrics`` are Keras's variables in their order."""

    weights: Weights
    progress: Progress
    optimizer: list[np.ndarray]
    metrics: list[np.ndarray]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to the file ``path``, atomically."""
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        write_into(file, checkpoint.weights)
        for kind in ("optimizer", "metrics"):
            for index, array in enumerate(getattr(checkpoint, kind)):
                file.create_dataset(f"{STATE}/{kind}/{index}", data=array)
        file.attrs[STATE] = json.dumps(
            {
                **asdict(checkpoint.progress),
                "shapes": {
                    kind: [list(a.shape) for a in getattr(checkpoint, kind)] for kind in ("optimizer", "metrics")
                },
            }
        )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        WeightsError: when it is missing, damaged, or a weight file without a training state.
    """
    with open_hdf5(path) as file:
        weights = read_from(file, path)
        if STATE not in file.attrs:
            raise WeightsError(f"{path} holds weights but no training state: it can be evaluated, not resumed.")
        try:
            state = json.loads(file.attrs[STATE])
            shapes = state.pop("shapes")
            progress = _progress(state)
            arrays = {kind: _read_arrays(file, kind, shapes[kind], path) for kind in ("optimizer", "metrics")}
        except (TypeError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} has a training state that can't be read: {error!r}.") from error
    return Checkpoint(weights, progress, **arrays)


def _progress(state: dict[str, Any]) -> Progress:
    # Cifarnet 0.1 had neither plans nor image sizes: it trained at full size.
    history = [HistoryRow(**{"image_size": 32, **row}) for row in state["history"]]
    plan = Plan(**state["plan"]) if "plan" in state else Plan(0)
    return Progress(**{**state, "history": history, "plan": plan})


def _read_arrays(file: "h5py.File", kind: str, shapes: list[list[int]], path: Path) -> list[Any]:
    return [
        read_tensor(file, f"{STATE}/{kind}/{index}", tuple(shape), path, kinds="fiu")
        for index, shape in enumerate(shapes)
    ]
