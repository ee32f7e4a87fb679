"""Muon: its arithmetic in NumPy, and the networks that it trains. tests/models/test_airbench.py resumes such runs."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.events import HistoryRow
from cifarnet.models.layers import leaves
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoint import TrainState
from cifarnet.training.messages import diverged, warn_of_better_check
from cifarnet.training.muon import orthogonalized, with_unit_channels
from cifarnet.training.optimizer import PlannedSGD
from cifarnet.training.schedule import Plan
from cifarnet.training.setup import prepare
from tests.support.runs import run_config

RECIPE = RECIPES["documented"].with_changes(momentum=0.5, learning_rate=0.1, lr_decay=0, muon=0.03)
# More inputs than outputs, and more outputs than inputs.
SHAPES = [(3, 3, 8, 5), (1, 1, 4, 9)]


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_stay_and_their_strengths_become_equal(shape):
    kernel = random(shape) * np.linspace(1, 4, shape[-1], dtype=np.float32)
    before = np.linalg.svd(kernel.reshape(-1, shape[-1]), full_matrices=False)
    turned = orthogonalized(kernel, np).reshape(-1, shape[-1])
    strengths = np.diag(before.U.T @ turned @ before.Vh.T)
    np.testing.assert_allclose(before.U @ np.diag(strengths) @ before.Vh, turned, atol=1e-5)
    assert 0.6 < strengths.min() <= strengths.max() < 1.3
    assert before.S.max() / before.S.min() > 2


@pytest.mark.parametrize("shape", SHAPES)
def test_tensors_and_arrays_have_the_same_update(shape):
    kernel = random(shape)
    for function in (orthogonalized, with_unit_channels):
        found = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(kernel), keras.ops))
        np.testing.assert_allclose(found, function(kernel, np), rtol=1e-4, atol=1e-5)


def test_a_gradient_of_zeros_changes_only_the_norm():
    kernel = random((3, 3, 2, 4))
    np.testing.assert_array_equal(orthogonalized(np.zeros_like(kernel), np), 0)
    assert np.linalg.norm(with_unit_channels(kernel, np)) == pytest.approx(2)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.5, 0])
def test_kernels_follow_muon_and_other_weights_sgd(momentum, nesterov):
    if nesterov and not momentum:
        pytest.skip("Nesterov momentum needs momentum.")
    recipe = RECIPE.with_changes(momentum=momentum, nesterov=nesterov)
    values = [random((3, 3, 2, 4)), random(5)]
    variables, alone = [keras.Variable(value) for value in values], keras.Variable(values[1])
    muon, sgd = PlannedSGD(recipe, 391), PlannedSGD(recipe.with_changes(muon=0), 391)
    velocity, wanted = np.zeros_like(values[0]), values[0]
    for optimizer, trained in ((muon, variables), (sgd, [alone])):
        optimizer.build(trained)
        optimizer.follow(Plan(100))
    for step in range(3):
        gradients = [random(value.shape, seed=step + 1) for value in values]
        muon.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], variables)
        sgd.apply([keras.ops.convert_to_tensor(gradients[1])], [alone])
        velocity = momentum * velocity + gradients[0]
        direction = gradients[0] + momentum * velocity if nesterov else velocity
        wanted = with_unit_channels(wanted, np) - 0.03 * orthogonalized(direction, np)
    np.testing.assert_allclose(np.array(variables[0]), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.array(variables[1]), np.array(alone))


@pytest.mark.parametrize("name", ["airbench94", "airbench94-slim"])
def test_batch_normalization_follows_the_kernels_of_muon(name):
    kinds = [layer.type for _, layer in leaves(describe(ModelSpec(name)))][1:]  # The first one is not trained.
    after = [kind for kind in kinds if kind in ("Conv2D", "BatchNormalization")]
    assert after == ["Conv2D", "BatchNormalization"] * 6


def test_other_networks_refuse_muon():
    for model in ("resnet20", "vgg16"):
        with pytest.raises(InvalidValueError, match=r"airbench94 or airbench94-slim\..* Received: `muon` 0.03"):
            prepare(TrainRequest("fast", data="synthetic:50", model=model, changes={"muon": 0.03}))


@pytest.mark.parametrize(("muon", "rates"), [(0, "lower `learning_rate`"), (0.05, "lower `muon` or `learning_rate`")])
def test_advice_names_the_learning_rates_of_the_run(muon, rates):
    recipe, warnings = RECIPE.with_changes(muon=muon), []
    failed = diverged(Path("run"), recipe, TrainState(0, 0, 0, 0.0, []), ArithmeticError("The loss became nan"), None)
    assert f"with a {rates}." in str(failed)
    rows = [HistoryRow(epoch, epoch, 32, 0.1, 1.0, 0.5, 1.0, accuracy) for epoch, accuracy in ((1, 0.8), (2, 0.5))]
    warn_of_better_check(run_config(recipe), rows, "validation", 0.5, warnings.append)
    assert f"at a {rates}." in warnings[0].message
