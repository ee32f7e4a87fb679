import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.data.dataset import Dataset
from cifarnet.errors import WeightsError
from cifarnet.events import HistoryRow
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.recipes import RECIPES
from cifarnet.training import checkpoint as checkpoints
from cifarnet.training.checkpoint import Checkpoint, TrainState, load_checkpoint, require_run, save_checkpoint
from cifarnet.training.resume import resume
from cifarnet.training.schedule import Plan
from cifarnet.training.setup import prepare
from cifarnet.weights.formats.hdf5 import HEADER
from cifarnet.weights.record import Weights
from tests.support.commands import request_of_command
from tests.support.runs import run_config
from tests.support.tampering import edit

WEIGHTS = Weights(
    ModelSpec("resnet8"), initial_weights(ModelSpec("resnet8"), 0), CIFAR10_CLASSES, Normalization(120.0, 64.0)
)


def row(epoch: int) -> HistoryRow:
    checked = None if epoch % 2 else 1 / 3
    return HistoryRow(epoch, 3 * epoch, 32, 0.1 / epoch, 1 / 7, 0.5, checked, checked)


@pytest.mark.slow
def test_a_long_history_is_read_back_exactly(tmp_path):
    """As many as the recipe ``paper`` has on images that fill one batch."""
    history = [row(epoch) for epoch in range(1, 64_001)]
    progress = TrainState(64_000, 0, 192_000, 1.5, history, 8, 1 / 3)
    saved = Checkpoint(WEIGHTS, progress, [np.arange(3, dtype=np.float32)], [])
    save_checkpoint(tmp_path / "checkpoint.h5", saved)
    assert load_checkpoint(tmp_path / "checkpoint.h5").train_state == progress


def test_a_history_of_more_than_any_run_is_refused_unread(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_EPOCHS", 2)
    with pytest.raises(WeightsError, match="a run has at most 2 epochs"):
        load_checkpoint(path)


@pytest.fixture
def path(tmp_path):
    """A checkpoint after 3 epochs of 3 batches and 2 batches more."""
    progress = TrainState(3, 2, 11, 1.5, [row(1), row(2), row(3)], 2, 1 / 3, Plan(30))
    optimizer = [np.array(11), np.arange(3, dtype=np.float32)]
    save_checkpoint(tmp_path / "checkpoint.h5", Checkpoint(WEIGHTS, progress, optimizer, [np.float32(0.5)]))
    assert load_checkpoint(tmp_path / "checkpoint.h5").train_state == progress
    return tmp_path / "checkpoint.h5"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epoch", -1, "a run has at most .* epochs"),
        ("epoch", 10**300, "a run has at most .* epochs"),
        ("epoch", True, "epoch must be a whole number"),
        ("epoch", 2, "history must be"),
        ("batch", -2, "whole numbers, at least 0"),
        ("batch", 2.0, "batch must be a whole number"),
        ("batch", 10**400, "steps are those of the epochs"),
        ("step", -11, "whole numbers, at least 0"),
        ("step", 12, "steps are those of the epochs"),
        ("step", None, "step must be a whole number"),
        ("seconds", float("nan"), "seconds are 0 to"),
        ("seconds", -1e300, "seconds are 0 to"),
        ("seconds", "1", "seconds must be a number"),
        ("best_epoch", 0, "best accuracy is that of the best epoch"),
        ("best_epoch", 10**9, "best accuracy is that of the best epoch"),
        ("best_epoch", None, "best accuracy is that of the best epoch"),
        ("best_accuracy", float("inf"), "best accuracy is that of the best epoch"),
        ("best_accuracy", [], "best_accuracy must be a number or null"),
        ("plan", {"steps": 10**15}, "at most .* steps"),
        ("plan", {"steps": 10}, "plan ends after the trained steps"),
        ("plan", {"steps": 30, "step": 12}, "plan begins in the trained part of the run"),
        ("plan", {"steps": 30, "position": float("nan")}, "plan begins in the trained part of the run"),
        ("plan", {"steps": 30, "position": -1e308}, "plan begins in the trained part of the run"),
        ("plan", {"steps": "30"}, "steps must be a whole number"),
        ("plan", [], "plan must be an object"),
        ("plan", 7, "plan must be an object"),
        ("image_size", 0, "image size is 1 to 1,024"),
        ("image_size", 2**40, "image size is 1 to 1,024"),
        ("restores", 6, "restores are 0 to 5"),
        ("restores", -(10**6), "restores are 0 to 5"),
        ("history", [], "history has a row for each epoch"),
        ("history", {"epoch": 1}, "history must be a list, each item an object"),
        ("shapes", None, "shapes must be an object"),
        ("shapes", {"optimizer": [[], [10**9, "abc"]], "metrics": []}, "lists of whole numbers"),
        ("shapes", {"optimizer": [[], [3]], "metrics": [[2**63]]}, "with shape"),
        ("more", 1, "has no field more"),
    ],
)
def test_impossible_states_are_refused(path, field, value, message):
    def change(file):
        file.attrs[checkpoints.STATE] = json.dumps({**json.loads(file.attrs[checkpoints.STATE]), field: value})

    edit(path, change)
    with pytest.raises(WeightsError, match=f"{message}|is not valid JSON"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 2), (0, 1.5), (1, 9), (1, -3), (1, np.inf), (2, 64), (2, 0), (3, np.nan), (4, np.inf), (5, 1.1), (7, 0.5)],
)
def test_impossible_histories_are_refused(path, column, value):
    def change(file):
        file[checkpoints.HISTORY][0, column] = value

    edit(path, change)
    with pytest.raises(WeightsError, match="a training state that can't be read"):
        load_checkpoint(path)


IMAGES = Dataset(np.zeros((6, 32, 32, 3), np.uint8), np.zeros(6, np.int32), CIFAR10_CLASSES)
RECIPE = RECIPES["paper"].with_changes(epochs=10, batch_size=2)


def test_a_run_takes_its_own_checkpoint(path, tmp_path):
    require_run(load_checkpoint(path), run_config(RECIPE), IMAGES, tmp_path)


@pytest.mark.parametrize(
    ("recipe", "changes", "classes", "message"),
    [
        (RECIPE, {}, tuple("abcdefghij"), "its list of classes"),
        (RECIPE.with_changes(batch_size=1), {}, CIFAR10_CLASSES, "the number of steps in its epochs"),
        (RECIPE, {"batch": 4, "step": 13}, CIFAR10_CLASSES, "its number of steps"),
        (RECIPE, {"image_size": 16}, CIFAR10_CLASSES, "its image size"),
        (RECIPE, {"plan": Plan(30, 3, 0.5)}, CIFAR10_CLASSES, "its plan"),
    ],
)
def test_a_run_refuses_the_checkpoint_of_another(path, tmp_path, recipe, changes, classes, message):
    checkpoint = load_checkpoint(path)
    vars(checkpoint.train_state).update(changes)
    with pytest.raises(WeightsError, match=f"is from another run: {message} does not fit"):
        require_run(checkpoint, run_config(recipe), replace(IMAGES, class_names=classes), tmp_path)


def test_resume_refuses_the_checkpoint_of_another_run(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "golden" / "0.1.0" / "run", tmp_path / "run")

    def rename(file):
        header = json.loads(file.attrs[HEADER])
        file.attrs[HEADER] = json.dumps({**header, "class_names": [f"class {k}" for k in range(10)]})

    edit(tmp_path / "run" / "checkpoint.h5", rename)
    with pytest.raises(WeightsError, match="its list of classes does not fit") as refused:
        resume(tmp_path / "run", start_backend=lambda name: pytest.fail("the backend was started"))
    prepared = prepare(request_of_command(str(refused.value).partition("from its weights: ")[2]))
    asked = (prepared.inputs.data, prepared.inputs.seed, prepared.inputs.weights, prepared.recipe.name)
    assert asked == ("synthetic:100", 3, str(tmp_path / "run"), "paper")
    assert (prepared.recipe.length, prepared.recipe.batch_size) == ({"epochs": 2, "steps": None}, 32)


@pytest.mark.parametrize("steps", [-1, 12, 2**62])
def test_an_optimizer_that_counts_other_steps_is_refused(path, steps):
    edit(path, lambda file: file["training/optimizer/0"].__setitem__((), steps))
    with pytest.raises(WeightsError, match="the optimizer counts steps from 0 to 11"):
        load_checkpoint(path)
