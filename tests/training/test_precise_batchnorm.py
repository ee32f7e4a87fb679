"""Moments of batch normalization from training images, against NumPy and against training mode itself."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.errors import InterruptedRunError, WeightsError
from cifarnet.events import Classifying, EpochDone, Planned, Warned
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.precise_batchnorm import BATCH_SIZE, PreciseImages
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights

pytestmark = pytest.mark.usefixtures("tiny_family")

SPEC = ModelSpec("resnet8")
NORMALIZATION = Normalization(120.0, 64.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), np.uint8)
FAST = RECIPES["fast"].with_changes(batch_size=25, learning_rate=0.05, resolutions=())
CONFIG = TrainRequest(FAST.with_changes(epochs=3, checks=0), data="synthetic:50", model="resnet8")


def normalized(images):
    return (images.astype(np.float32) - 120) / 64


@pytest.mark.parametrize("size", [32, 20])
def test_inference_then_equals_training_mode(size):
    """With all images in one batch, the population's moments are the batch's."""
    from cifarnet.data.augmentation import shrink

    network, batch = build_model(SPEC, seed=1), IMAGES[:40]
    PreciseImages(build_model(SPEC), batch, NORMALIZATION, 1000, seed=0).update(network, size)
    inputs = shrink(normalized(batch), size)
    found = np.asarray(network.logits(inputs, training=False))
    wanted = np.asarray(network.logits(inputs, training=True))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_moments_of_several_batches_are_the_population_s():
    """The first layer sees the same in every batch split: its moments are those of all images together."""
    network = build_model(SPEC, seed=1)
    precise = PreciseImages(build_model(SPEC), IMAGES, NORMALIZATION, 1000, seed=0)
    assert len(IMAGES) > BATCH_SIZE
    assert precise.count == 300
    precise.update(network, 32)
    seen = np.asarray(network.base[0](normalized(IMAGES)), np.float64)
    first = network.batch_norms[0]
    np.testing.assert_allclose(np.asarray(first.moving_mean), seen.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(first.moving_variance), seen.var(axis=(0, 1, 2)), rtol=1e-3)


def test_moments_of_a_training_that_diverged_are_refused():
    network = build_model(SPEC, seed=1)
    kernel = network.regularized[0]
    kernel.assign(np.full(kernel.shape, 1e38, np.float32))
    with pytest.raises(WeightsError, match="NaN or infinite"):  # Without a warning by NumPy.
        PreciseImages(build_model(SPEC), IMAGES[:40], NORMALIZATION, 1000, seed=0).update(network, 32)


@pytest.mark.slow
def test_earlier_moments_and_kernels_do_not_matter():
    one, other = build_model(SPEC, seed=1), build_model(SPEC, seed=1)
    for layer in other.batch_norms:
        layer.moving_mean.assign(np.full(layer.moving_mean.shape, 1e6))
    for network in (one, other):
        PreciseImages(build_model(SPEC), IMAGES, NORMALIZATION, 64, seed=0).update(network, 32)
    mine, theirs, before = one.get_tensors(), other.get_tensors(), build_model(SPEC, seed=1).get_tensors()
    for name, tensor in mine.items():
        np.testing.assert_array_equal(tensor, theirs[name])
        assert np.array_equal(tensor, before[name]) != ("moving" in name)


def test_frozen_layers_keep_their_moments():
    network, twin = build_model(SPEC, seed=1), build_model(SPEC)
    for each in (network, twin):
        each.freeze_base()
    before = network.get_tensors()
    PreciseImages(twin, IMAGES, NORMALIZATION, 64, seed=0).update(network, 32)
    changed = {name for name, tensor in network.get_tensors().items() if not np.array_equal(tensor, before[name])}
    assert changed == {"batch_normalization/moving_mean", "batch_normalization/moving_variance"}


def test_what_check_raises_leaves_the_network_alone():
    def refuse():
        raise InterruptedError

    network = build_model(SPEC, seed=1)
    before = network.get_tensors()
    with pytest.raises(InterruptedError):
        PreciseImages(build_model(SPEC), IMAGES, NORMALIZATION, 64, seed=0).update(network, 32, refuse)
    for name, tensor in network.get_tensors().items():
        np.testing.assert_array_equal(tensor, before[name])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(CONFIG, tmp_path_factory.mktemp("alone") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("at", [Classifying, EpochDone])
def test_resumed_run_has_the_same_moments(at, alone, tmp_path):
    def stop(event):
        if isinstance(event, at):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(CONFIG, tmp_path / "run", report=stop)
    result = resume(tmp_path / "run")
    assert result.weights_sha256 == alone.weights_sha256
    assert (tmp_path / "run" / files.HISTORY).read_bytes() == (alone.directory / files.HISTORY).read_bytes()


@pytest.mark.slow
def test_checkpoint_result_and_best_weights_have_them(alone, tmp_path):
    """What is scored is what is saved."""
    network = build_model(SPEC, load_weights(alone.directory / files.WEIGHTS).tensors)
    from cifarnet.data.sources import load_data

    data = load_data("synthetic:50").train
    normalization = Normalization.of(data.images)
    before = network.get_tensors()
    PreciseImages(build_model(SPEC), data.images, normalization, 1024, seed=0).update(network, 32)
    for name, tensor in network.get_tensors().items():
        np.testing.assert_array_equal(tensor, before[name])
    assert load_checkpoint(alone.directory / files.CHECKPOINT).weights.sha256() == alone.weights_sha256
    config = replace(CONFIG, validation_split=0.2)
    train(config, tmp_path / "run")
    best = load_weights(tmp_path / "run" / files.BEST_WEIGHTS)
    assert best.sha256() == load_weights(tmp_path / "run" / files.WEIGHTS).sha256()


@pytest.mark.slow
def test_fixed_base_takes_the_head_s_moments_from_features(alone, tmp_path):
    recipe = FAST.with_changes(epochs=1, flip=False, alternate_flips=False, crop_padding=0)
    config = replace(CONFIG, recipe=recipe, weights=str(alone.directory), freeze_base=True)
    train(config, tmp_path / "run")
    before, after = (load_weights(run / files.WEIGHTS).tensors for run in (alone.directory, tmp_path / "run"))
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert {name.partition("/")[0] for name in changed} == {"batch_normalization", "conv2d_1"}
    # The same images gave the features, rounded to bfloat16, and the moments of the first run.
    for name in ("batch_normalization/moving_mean", "batch_normalization/moving_variance"):
        np.testing.assert_allclose(after[name], before[name], rtol=0.02, atol=0.002)


@pytest.mark.slow
def test_result_of_a_short_run_is_as_good_as_the_network(tmp_path):
    """Moving averages of a dozen steps score at chance what training mode has learned."""
    recipe = FAST.with_changes(epochs=12, batch_size=50, checks=1, learning_rate=0.1, batchnorm_momentum=0.99)
    config = TrainRequest(recipe, data="synthetic:300", model="resnet8")
    precise = train(config, tmp_path / "precise").metrics.loss
    moving = train(replace(config, recipe=recipe.with_changes(precise_batchnorm=0)), tmp_path / "moving").metrics.loss
    assert precise < 2.0 < moving


def events_of(recipe, directory, data="synthetic:50"):
    events = []
    train(TrainRequest(recipe, data=data, model="tiny2"), directory, report=events.append)
    return events


def warnings(events):
    return [event.message for event in events if isinstance(event, Warned)]


@pytest.mark.slow
def test_paper_s_recipe_warns_of_unsettled_moments(tmp_path):
    recipe = RECIPES["paper"].with_changes(epochs=2, batch_size=25)
    (warning,) = warnings(events_of(recipe, tmp_path / "run"))
    assert "This run has 4 steps." in warning
    assert "need about 299 to settle (momentum 0.99)" in warning  # 0.99 ** 299 < 0.05 < 0.99 ** 298
    assert "`precise_batchnorm` 1024" in warning


@pytest.mark.slow
def test_small_images_are_left_out_of_a_short_run(tmp_path):
    events = events_of(RECIPES["fast"].with_changes(epochs=2, batch_size=25), tmp_path / "run")
    assert not warnings(events)
    assert [event.row.image_size for event in events if isinstance(event, EpochDone)] == [32, 32]
    (plan,) = (event for event in events if isinstance(event, Planned))
    assert plan.notes == ("images at full size throughout: the run is too short to begin with small ones",)
    assert json.loads((tmp_path / "run" / files.CONFIG).read_text())["recipe"]["resolutions"] == []


@pytest.mark.slow
def test_requested_small_images_stay_with_a_warning(tmp_path):
    recipe = RECIPES["fast"].with_changes(epochs=2, batch_size=25, resolutions=((16, 0.5),))
    events = events_of(recipe, tmp_path / "run")
    assert [event.row.image_size for event in events if isinstance(event, EpochDone)] == [16, 32]
    (warning,) = warnings(events)
    assert warning.startswith("This run trains 2 of its 4 steps on images of full size (32 pixels)")
