import numpy as np
import pytest

from cifarnet.errors import WeightsError
from cifarnet.models.network import initial_weights
from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec, Normalization
from cifarnet.models.weights import Weights
from cifarnet.training import checkpoint as checkpoints
from cifarnet.training.checkpoint import Checkpoint, Progress, load_checkpoint, save_checkpoint
from cifarnet.training.events import HistoryRow
from tests.models.tampering import edit

WEIGHTS = Weights(ModelSpec(8), initial_weights(ModelSpec(8), 0), CIFAR10_CLASSES, Normalization(120.0, 64.0))


def row(epoch: int) -> HistoryRow:
    checked = None if epoch % 2 else 1 / 3
    return HistoryRow(epoch, 3 * epoch, 32, 0.1 / epoch, 1 / 7, 0.5, checked, checked)


@pytest.mark.slow
def test_sixty_four_thousand_epochs_are_read_back_to_the_last_bit(tmp_path):
    """As many as the recipe ``paper`` has on images that fill one batch."""
    history = [row(epoch) for epoch in range(1, 64_001)]
    progress = Progress(64_000, 0, 192_000, 1.5, history, 7, 0.25)
    saved = Checkpoint(WEIGHTS, progress, [np.arange(3, dtype=np.float32)], [])
    save_checkpoint(tmp_path / "checkpoint.h5", saved)
    assert load_checkpoint(tmp_path / "checkpoint.h5").progress == progress


def test_a_history_of_more_than_any_run_is_refused_unread(tmp_path, monkeypatch):
    progress = Progress(1, 0, 3, 1.5, [row(1)])
    save_checkpoint(tmp_path / "checkpoint.h5", Checkpoint(WEIGHTS, progress, [], []))
    monkeypatch.setattr(checkpoints, "HISTORY_LIMIT", 10)
    with pytest.raises(WeightsError, match="a history has 10 bytes at most"):
        load_checkpoint(tmp_path / "checkpoint.h5")


def test_a_history_that_is_no_json_is_refused(tmp_path):
    progress = Progress(1, 0, 3, 1.5, [row(1)])
    save_checkpoint(tmp_path / "checkpoint.h5", Checkpoint(WEIGHTS, progress, [], []))
    edit(tmp_path / "checkpoint.h5", lambda file: file[checkpoints.HISTORY].__setitem__(0, ord("!")))
    with pytest.raises(WeightsError, match="a training state that can't be read"):
        load_checkpoint(tmp_path / "checkpoint.h5")
