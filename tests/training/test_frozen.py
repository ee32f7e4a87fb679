import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.backend.devices import Device, Execution
from cifarnet.data.progress import silent
from cifarnet.data.sources import load_data
from cifarnet.errors import InterruptedRunError, InvalidValueError, WeightsError
from cifarnet.evaluation.metrics import measure
from cifarnet.events import BudgetPlanned, EpochDone
from cifarnet.inference.classifier import Classifier
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.request import TrainRequest
from cifarnet.training import timing
from cifarnet.training.budget import ENDING, Planner
from cifarnet.training.distribute import Strategy
from cifarnet.training.evaluator import ImageEvaluator
from cifarnet.training.frozen import FeatureEvaluator, base_features
from cifarnet.training.session import Session
from cifarnet.training.setup import prepare, read_images, resolve
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.runs import run_config

STILL = RECIPES["paper"].with_changes(crop_padding=0, flip=False, batch_size=32, epochs=3, learning_rate=0.01)
NORMALIZATION = Normalization(120.0, 64.0)
CLASSES = load_data("synthetic:50").train.class_names


@pytest.fixture
def base(tmp_path):
    """A weight file to train a head on."""
    path = tmp_path / "base.h5"
    save_weights(path, Weights(ModelSpec("resnet8"), initial_weights(ModelSpec("resnet8"), 0), CLASSES, NORMALIZATION))
    return path


@pytest.mark.parametrize(
    ("change", "once"),
    [
        ({}, True),
        ({"flip": True}, False),
        ({"crop_padding": 4}, False),
        ({"rotation": 5.0}, False),
        ({"shift": 0.1}, False),
        ({"cutout": 4}, False),
        ({"jitter": 0.2}, False),
        ({"trivial_augment": True}, False),
        ({"mixup": 0.2}, False),
        ({"cutmix": 0.5}, False),
        ({"resolutions": ((16, 0.5),)}, False),
    ],
)
def test_features_are_computed_once_without_augmentation(change, once):
    config = run_config(STILL.with_changes(**change), weights="resnet20", freeze_base=True)
    assert config.head_alone is once


@pytest.mark.slow
def test_head_logits_of_features_are_the_networks(base):
    weights = load_weights(base)
    images = load_data("synthetic:50").test.images
    network = build_model(weights.spec, weights.tensors)
    features = base_features(network, images, NORMALIZATION, silent, "")
    found = FeatureEvaluator(network, features).logits(weights.tensors, 32, silent)
    wanted = Classifier(weights).logits(images)
    np.testing.assert_allclose(found, wanted, atol=0.01 * np.abs(wanted).max())  # bfloat16: three digits


@pytest.mark.slow
def test_training_on_features_is_training_with_a_fixed_base(base, tmp_path, monkeypatch):
    config = TrainRequest(STILL, data="synthetic:200", weights=str(base), freeze_base=True, precision="float32")
    train(config, tmp_path / "once")
    monkeypatch.setattr(RunConfig, "head_alone", False)
    train(config, tmp_path / "each")
    once, each = (load_weights(tmp_path / name / files.WEIGHTS).tensors for name in ("once", "each"))
    for name, tensor in each.items():
        np.testing.assert_allclose(once[name], tensor, atol=0.02 * max(1e-3, np.abs(tensor).max()), err_msg=name)


@pytest.mark.slow
def test_every_epoch_is_reported_with_several_steps_per_call(base, tmp_path):
    events = []
    config = TrainRequest(STILL, data="synthetic:200", weights=str(base), freeze_base=True)
    train(config, tmp_path / "run", report=events.append)
    assert [event.row.step for event in events if isinstance(event, EpochDone)] == [7, 14, 21]


def test_a_base_that_diverged_is_refused(base, tmp_path):
    weights = load_weights(base)
    weights.tensors["conv2d/kernel"][...] = 1e38
    network = build_model(weights.spec, weights.tensors)
    with pytest.raises(WeightsError, match="non-finite"):
        base_features(network, load_data("synthetic:50").test.images, NORMALIZATION, silent, "")


@pytest.mark.slow
def test_the_result_equals_that_of_evaluate(base, tmp_path):
    result = train(TrainRequest(STILL, data="synthetic:200", weights=str(base), freeze_base=True), tmp_path / "run")
    test = load_data("synthetic:200").test
    logits = Classifier(load_weights(tmp_path / "run" / files.WEIGHTS), engine="keras").logits(test.images)
    assert result.metrics.loss == measure(logits, test.labels, test.class_names).loss


def test_a_head_is_trained_and_reported_in_float32(base):
    gpu = Device("jax", "gpu", "a GPU")
    assert Execution.best_on(gpu).precision == "bfloat16"
    prepared = prepare(TrainRequest(STILL, data="synthetic:50", weights=str(base), freeze_base=True))
    inputs, data, _ = read_images(prepared, Session())
    config, _ = resolve(prepared, inputs, data, "jax", gpu, Strategy())
    assert config.execution(gpu).precision == "float32"
    with pytest.raises(InvalidValueError, match=r"leave out `precision`\. Received: bfloat16"):
        replace(config, precision="bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("validation_split", [None, 0.25])
def test_a_budget_has_room_for_the_whole_network_s_passes(base, tmp_path, clock, monkeypatch, validation_split):
    """The checks take next to nothing, and an image takes a second in the whole network."""
    monkeypatch.setattr(FeatureEvaluator, "time", lambda evaluator, count: 1e-6 * count)
    monkeypatch.setattr(ImageEvaluator, "time", lambda evaluator, count: 1.0 * count)
    planners = []

    class Recorded(Planner):
        def __init__(self, *given):
            super().__init__(*given)
            planners.append(self)

    monkeypatch.setattr(timing, "Planner", Recorded)
    recipe = RECIPES["fine-tune"].with_changes(crop_padding=0, flip=False, batch_size=32, precise_batchnorm=0)
    request = TrainRequest(
        recipe,
        data="synthetic:200",
        weights=str(base),
        freeze_base=True,
        validation_split=validation_split,
        budget=1000.0,
    )

    def stop(event):
        if isinstance(event, BudgetPlanned):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(request, tmp_path / "run", report=stop)
    (planner,) = planners
    test, train_images = len(load_data("synthetic:200").test), 200
    calibration = 0 if validation_split is None else train_images + 50  # Statistics on all images, then the held-out.
    assert planner.ending == pytest.approx(ENDING + test + calibration)
    assert planner.seconds_per_check < 1
