"""Averaged weights: their arithmetic in NumPy, what is made of them, and their place in a run that is resumed."""

import keras
import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import InterruptedRunError
from cifarnet.events import Classifying, EpochDone, Planned, StepDone
from cifarnet.models.network import build_model
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.optimizer import PlannedSGD, average_decay
from cifarnet.training.precise_batchnorm import PreciseImages
from cifarnet.training.resume import resume
from cifarnet.training.schedule import Plan
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from tests.support.training import Recorder, assert_same_result

PLAIN = RECIPES["documented"].with_changes(momentum=0.5, nesterov=False, learning_rate=0.1)
# The rest of the state of a run, with all that varies images.
RECIPE = RECIPES["fast"].with_changes(
    epochs=2,
    batch_size=25,
    learning_rate=0.05,
    resolutions=((16, 0.3),),
    precise_batchnorm=50,
    checks=2,
    label_smoothing=0.1,
    jitter=0.2,
    trivial_augment=True,
    mixup=0.2,
    cutmix=0.5,
    ema=0.9,
)
FULL_SIZE = RECIPE.with_changes(resolutions=())
CONFIG = TrainRequest(RECIPE, data="synthetic:100", model="tiny2", validation_split=0.1)
pytestmark = pytest.mark.usefixtures("tiny_family")


def test_the_decay_rises_to_its_value():
    found = [float(average_decay(0.999, step)) for step in (0, 1, 9, 91, 8991, 10**6)]
    assert found == pytest.approx([0, 0.1, 0.5, 0.91, 0.999, 0.999])


def test_averages_follow_their_formula():
    start, *gradients = np.random.default_rng(2).normal(size=(21, 7)).astype(np.float32)
    variable, optimizer = keras.Variable(start), PlannedSGD(PLAIN.with_changes(ema=0.6, precise_batchnorm=1), 391)
    optimizer.build([variable])
    optimizer.follow(Plan(100))
    average = None
    for step, gradient in enumerate(gradients):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        weights, decay = np.array(variable), min(0.6, step / (step + 9))
        average = weights if average is None else decay * average + (1 - decay) * weights
    (found,) = optimizer.averages
    np.testing.assert_allclose(np.asarray(found), average, rtol=1e-5, atol=1e-6)
    assert np.abs(average - weights).max() > 0.01
    assert optimizer.variables[-1] is optimizer.plan


def test_averaging_does_not_change_the_training():
    ends = []
    for changes in ({}, {"ema": 0.6, "precise_batchnorm": 1}):
        variable, optimizer = keras.Variable(np.ones(3, np.float32)), PlannedSGD(PLAIN.with_changes(**changes), 391)
        optimizer.build([variable])
        optimizer.follow(Plan(100))
        for _ in range(3):
            optimizer.apply([keras.ops.ones(3)], [variable])
        ends.append(np.array(variable))
    np.testing.assert_array_equal(*ends)


def apply(optimizer, gradient, variable):
    """Update ``variable`` as Keras's trainer does."""
    if keras.backend.backend() != "jax":
        optimizer.apply([gradient], [variable])
        return
    state = [each.value for each in optimizer.variables]
    (value,), state = optimizer.stateless_apply(state, [gradient], [variable.value])
    for each, new in zip((variable, *optimizer.variables), (value, *state), strict=True):
        each.assign(new)


def test_a_step_that_float16_skips_is_not_averaged():
    variable, inner = (
        keras.Variable(np.ones(3, np.float32)),
        PlannedSGD(PLAIN.with_changes(ema=0.6, precise_batchnorm=1), 391),
    )
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)
    optimizer.build([variable])
    inner.follow(Plan(100))
    apply(optimizer, keras.ops.ones(3), variable)
    before = np.array(inner.averages[0])
    np.testing.assert_array_equal(before, np.array(variable))
    apply(optimizer, keras.ops.full((3,), np.inf), variable)
    np.testing.assert_array_equal(np.array(inner.averages[0]), before)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tiny_family):
    """A run that was left alone, with its events."""
    events = Recorder()
    return train(CONFIG, tmp_path_factory.mktemp("reference") / "run", report=events), events


@pytest.mark.slow
def test_the_result_is_the_average_with_its_own_moments(reference, tmp_path):
    directory = train(TrainRequest(FULL_SIZE, data="synthetic:100", model="tiny2"), tmp_path / "run").directory
    checkpoint, found = load_checkpoint(directory / files.CHECKPOINT), load_weights(directory / files.WEIGHTS)
    network = build_model(found.spec, checkpoint.weights.tensors)
    trained = network.trainable_variables
    averages = dict(zip(map(id, trained), checkpoint.optimizer[-len(trained) :], strict=True))
    wanted = {name: averages.get(id(variable), np.array(variable)) for name, variable in network.tensors().items()}
    network.set_tensors(wanted)
    images = load_data("synthetic:100").train.images
    PreciseImages(build_model(found.spec), images, Normalization.of(images), 50, seed=0).update(network, 32)
    for name, tensor in network.get_tensors().items():
        np.testing.assert_array_equal(found.tensors[name], tensor, err_msg=name)
        assert not np.array_equal(checkpoint.weights.tensors[name], tensor), name


@pytest.mark.slow
def test_plan_checks_and_best_epoch_say_what_is_scored(reference):
    result, events = reference
    assert "training loss and accuracy are those of mixed images" in events.of(Planned)[0].notes[-1]
    rows = [event.row for event in events.of(EpochDone)]
    best = load_weights(result.directory / files.BEST_WEIGHTS)
    assert best.sha256() == load_weights(result.directory / files.WEIGHTS).sha256()
    assert load_checkpoint(result.directory / files.CHECKPOINT).weights.sha256() != best.sha256()
    assert max(row.held_accuracy for row in rows if row.image_size == 32) == rows[result.epoch - 1].held_accuracy


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda e: isinstance(e, StepDone) and e.step == 2, id="inside an epoch"),
        pytest.param(lambda e: isinstance(e, Classifying) and e.done, id="during a check"),
    ],
)
def test_a_resumed_run_equals_a_whole_one(reference, tmp_path, when):
    with pytest.raises(InterruptedRunError):
        train(CONFIG, tmp_path / "run", report=Recorder(when))
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", reference)


@pytest.mark.slow
def test_a_run_resumed_after_its_last_check_has_the_same_result(tmp_path):
    """The moments of the average are not in the checkpoint: they are computed again."""
    result = train(TrainRequest(FULL_SIZE, data="synthetic:100", model="tiny2"), tmp_path / "run")
    for name in (files.METRICS, files.WEIGHTS):
        (tmp_path / "run" / name).unlink()
    again = resume(tmp_path / "run")
    assert again.weights_sha256 == result.weights_sha256
    assert again.metrics.loss == pytest.approx(result.metrics.loss, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("still", [False, True], ids=["images", "features"])
def test_a_frozen_base_stays_as_it_is(reference, tmp_path, still):
    recipe = FULL_SIZE
    if still:
        moves = {"flip": False, "alternate_flips": False, "crop_padding": 0}
        recipe = recipe.with_changes(**moves, jitter=0.0, trivial_augment=False, mixup=0.0, cutmix=0.0)
    base = reference[0].directory
    request = TrainRequest(recipe, data="synthetic:100", model="tiny2", weights=str(base), freeze_base=True)
    train(request, tmp_path / "run")
    before, after = (load_weights(run / files.WEIGHTS).tensors for run in (base, tmp_path / "run"))
    changed = {name.partition("/")[0] for name in after if not np.array_equal(before[name], after[name])}
    assert changed == {"norm", "classifier"}
    raw = load_checkpoint(tmp_path / "run" / files.CHECKPOINT).weights.tensors
    assert not np.array_equal(raw["classifier/kernel"], after["classifier/kernel"])


@pytest.mark.slow
def test_a_student_learns_from_mixed_images(reference, tmp_path):
    request = TrainRequest(FULL_SIZE, data="synthetic:100", model="tiny2", teacher=str(reference[0].directory))
    result = train(request, tmp_path / "run")
    assert np.isfinite(result.metrics.loss)
    raw = load_checkpoint(tmp_path / "run" / files.CHECKPOINT).weights
    assert raw.sha256() != result.weights_sha256
