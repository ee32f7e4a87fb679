"""A recipe's arithmetic, against the formulas written out in NumPy."""

import keras
import numpy as np
import pytest

from cifarnet.backend.devices import Execution
from cifarnet.data.augmentation import MOVE_DRAWS, shrink
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import Network, build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.training.model import TrainingModel
from cifarnet.training.optimizer import PlannedSGD
from cifarnet.training.schedule import Plan

SPEC = ModelSpec("resnet8")
NORMALIZATION = Normalization(120.0, 64.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
STILL = RECIPES["paper"].with_changes(crop_padding=0, flip=False, batch_size=6)
ROWS = np.array([4, 0, 5, 2], np.int32)
BATCH = {"rows": ROWS, "draws": np.full((len(ROWS), MOVE_DRAWS), 0.5, np.float32)}


def training_model(recipe, frozen=False):
    network = build_model(SPEC, seed=1)
    if frozen:
        network.freeze_base()
    return TrainingModel(network, IMAGES, NORMALIZATION, recipe, Execution("float32", False, 1))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("frozen", [False, True])
def test_loss_is_smoothed_cross_entropy_plus_l2(smoothing, frozen):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 3, (5, 10)).astype(np.float32), np.array([3, 1, 4, 1, 5], np.int32)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    entropy = -logs[np.arange(5), labels].mean()
    kernels = [array for name, array in initial_weights(SPEC, 1).items() if name.endswith("/kernel")]
    penalty = sum(np.square(kernel).sum() for kernel in (kernels[-1:] if frozen else kernels))
    made = training_model(STILL.with_changes(label_smoothing=smoothing, l2=2e-3), frozen)
    found = float(np.asarray(made.compute_loss(y=labels, y_pred=logits)))
    assert found == pytest.approx((1 - smoothing) * entropy - smoothing * logs.mean() + 2e-3 * penalty, rel=1e-5)
    assert float(np.asarray(made.cross_entropy.result())) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_updates_follow_momentum_and_learning_rate(nesterov):
    recipe = STILL.with_changes(learning_rate=0.1, lr_decay=1.0, lr_boundaries=(), momentum=0.8, nesterov=nesterov)
    start, *gradients = np.random.default_rng(2).normal(size=(3, 7)).astype(np.float32)
    variable, optimizer = keras.Variable(start), PlannedSGD(recipe, 391)
    optimizer.build([variable])
    optimizer.follow(Plan(10))
    wanted, velocity = start, 0.0
    for rate, gradient in zip((0.1, 0.05), gradients, strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        velocity = 0.8 * velocity - rate * gradient
        wanted = wanted + (0.8 * velocity - rate * gradient if nesterov else velocity)
        np.testing.assert_allclose(np.asarray(variable), wanted, rtol=1e-5, atol=1e-6)


def test_moving_moments_follow_the_recipes_momentum():
    moments = {}
    for momentum in (0.0, 0.75):
        made = training_model(STILL.with_changes(batchnorm_momentum=momentum))
        made(BATCH, training=True)
        moments[momentum] = {name: x for name, x in made.network.get_tensors().items() if "/moving_" in name}
    assert len(moments[0.75]) == 2 * 7
    for name, found in moments[0.75].items():
        start = 1.0 if name.endswith("variance") else 0.0
        wanted = 0.75 * start + 0.25 * moments[0.0][name]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture
def fed(monkeypatch):
    """What the network is fed to train on, as often as it is called or traced."""
    original, images = Network.logits, []

    def logits(network, x, training=None):
        if training:
            images.append(x)
        return original(network, x, training=training)

    monkeypatch.setattr(Network, "logits", logits)
    return images


def test_inputs_are_normalized_and_resized(fed):
    made = training_model(STILL)
    for size in (16, 32):
        made.use_size(size)
        made(BATCH, training=True)
    small, full = (np.asarray(images) for images in fed)
    normalized = (IMAGES[ROWS].astype(np.float32) - 120) / 64
    np.testing.assert_allclose(small, np.asarray(shrink(normalized, 16)), atol=1e-5)
    np.testing.assert_allclose(full, normalized, atol=1e-5)


@pytest.mark.slow
def test_each_image_size_has_its_own_compiled_step(fed):
    made = training_model(STILL)
    made.sgd.follow(Plan(10))
    for size in (16, 32):
        made.use_size(size)
        made.fit(BATCH, np.arange(len(ROWS), dtype=np.int32), batch_size=len(ROWS), verbose=0)
        assert {images.shape[1] for images in fed} == {size}
        fed.clear()
