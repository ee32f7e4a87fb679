"""Runs on larger images: the option, the weights that fit, the source and the plan."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import InvalidValueError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.events import Planned, Warned
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.predict import ImageSource, predict
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.compare import compare
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.setup import prepare
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.datasets import image_folder
from tests.support.training import Recorder, assert_same_result

SHORT = RECIPES["fine-tune"].with_changes(epochs=2, batch_size=8, precise_batchnorm=8)


@pytest.fixture
def pets(tmp_path):
    """Pictures of 32 pixels."""
    return image_folder(tmp_path / "pets", train=10, test=4)


def save_base(path, model, size):
    """Weights to start from."""
    spec = ModelSpec(model, 10, size)
    tensors = initial_weights(spec, 0)
    save_weights(path, Weights(spec, tensors, tuple("abcdefghij"), Normalization(120.0, 64.0)))
    return path


@pytest.mark.parametrize("size", [0, -1, 33, 6, 1025, 100_000])
def test_impossible_sizes_are_refused_before_reading(size):
    with pytest.raises(InvalidValueError, match=f"`image_size` must be .*Received: {size}"):
        prepare(TrainRequest(data="nowhere", image_size=size))


def test_the_size_is_that_of_the_request_weights_or_32(tmp_path):
    assert prepare(TrainRequest()).inputs.image_size == 32
    assert prepare(TrainRequest(weights="resnet20")).inputs.image_size == 32
    assert prepare(TrainRequest(weights="resnet20", image_size=96)).inputs.image_size == 96
    large = str(save_base(tmp_path / "large.h5", "vgg16", 64))
    assert prepare(TrainRequest(weights=large)).inputs.image_size == 64
    assert prepare(TrainRequest(weights=large, image_size=36)).inputs.image_size == 36


@pytest.mark.parametrize(
    ("size", "other", "valid"), [(32, 64, "multiples of 4 from 8 to 32"), (64, 32, "multiples of 4 from 36 to 64")]
)
def test_weights_of_a_dense_layer_must_fit_the_size(tmp_path, size, other, valid):
    path = save_base(tmp_path / "w.h5", "vgg16", size)
    with pytest.raises(InvalidValueError, match=f"They fit {valid} pixels.*Received: `image_size` {other}"):
        prepare(TrainRequest(weights=str(path), image_size=other))


def test_small_images_must_share_the_weights_of_full_size():
    recipe = RECIPES["documented"].with_changes(resolutions=((32, 0.5),))
    asked = TrainRequest(recipe, model="vgg16", image_size=64)
    with pytest.raises(InvalidValueError, match=r"at 64 pixels. It takes multiples of 4 pixels from 36 to 64; .* 36\."):
        prepare(asked)
    prepare(replace(asked, model="resnet20"))


@pytest.mark.parametrize(
    ("model", "size", "sides"),
    [
        ("resnet20", 32, (16, 20, 24, 28)),
        ("resnet20", 16, (16, 20, 24, 28)),
        ("resnet20", 48, (24, 32, 36, 40)),
        ("resnet20", 64, (32, 40, 48, 56)),
        ("resnet20", 96, (48, 60, 72, 84)),
        ("vgg16", 64, ()),
        ("airbench94", 32, (24, 28)),
        ("airbench94", 64, (48, 56)),
        ("airbench94-slim", 32, (16, 20, 24, 28)),
    ],
)
def test_small_images_of_fast_follow_the_size(model, size, sides):
    recipe = prepare(TrainRequest("fast", model=model, image_size=size)).recipe
    assert tuple(side for side, _ in recipe.resolutions) == sides
    assert recipe.has_fast_sizes == bool(sides)
    assert recipe.on("gpu").resolutions == ()


def test_given_small_images_stay():
    own = ((16, 0.35), (20, 0.25), (24, 0.2), (28, 0.1))
    assert prepare(TrainRequest("fast", image_size=64, changes={"resolutions": own})).recipe.resolutions == own


def test_configurations_without_a_size_are_of_32_pixels():
    config = RunConfig(
        data="cifar10", recipe=SHORT, model="resnet8", backend="jax", precision="float32", jit=True, data_sha256="0"
    )
    stored = config.to_dict()
    assert stored.pop("image_size") == 32
    assert RunConfig.from_dict(stored) == config


@pytest.mark.slow
def test_a_larger_run_is_resumed_scored_and_used(tmp_path, pets):
    base = save_base(tmp_path / "base.h5", "resnet8", 32)
    asked = TrainRequest(SHORT, data=pets, weights=str(base), image_size=48)
    events = Recorder()
    result = train(asked, tmp_path / "whole", report=events)
    assert [event.spec.image_size for event in events.of(Planned)] == [48]
    enlarged = "All images are smaller than 48x48 pixels. They are enlarged, which takes time and adds no detail."
    assert events.of(Warned)[0].message == enlarged
    weights = load_weights(tmp_path / "whole" / files.WEIGHTS)
    assert weights.spec == ModelSpec("resnet8", 2, 48)
    assert evaluate(tmp_path / "whole").metrics.accuracy == result.metrics.accuracy
    assert list(predict([ImageSource("cat", pets / "test/cat/0.png")], Classifier(weights)))

    stop = Recorder(lambda event: getattr(event, "step", None) == 4)
    with pytest.raises(Exception, match="everything is saved"):
        train(asked, tmp_path / "stopped", report=stop)
    resume(tmp_path / "stopped")
    assert_same_result(tmp_path / "stopped", (result, events))
    assert "--image-size 48" in " ".join(Run.open(tmp_path / "whole").config.command(tmp_path / "config.json"))

    train(replace(asked, image_size=None), tmp_path / "small")
    compared = compare([tmp_path / "whole", tmp_path / "small"])
    assert compared.differing == ("image_size",)
    assert compared.same_images


@pytest.mark.slow
def test_images_held_out_at_another_size_are_known(tmp_path):
    """A run at 16 pixels held a fifth out. One at 32 from its weights must hold out the same, wherever they are."""
    source = image_folder(tmp_path / "pets", train=10, test=0)
    recipe = RECIPES["paper"].with_changes(steps=1, batch_size=8, crop_padding=0)
    asked = TrainRequest(recipe, data=source, model="resnet8", image_size=16, test_split=0.2)
    train(asked, tmp_path / "small")
    moved = source.rename(tmp_path / "moved")
    events = Recorder()
    larger = replace(asked, data=moved, model=None, weights=str(tmp_path / "small"), image_size=32, test_split=None)
    train(larger, tmp_path / "large", report=events)
    assert json.loads((tmp_path / "large" / files.CONFIG).read_text())["test_split"] == 0.2
    assert not [event.message for event in events.of(Warned) if "has changed" in event.message]


def test_enlarged_images_are_counted(tmp_path, pets):
    assert load_data(pets, image_size=32).enlarged == 0
    assert load_data(pets, image_size=48).enlarged == 28
    assert load_data(pets, image_size=48).enlarged == 28  # From the cache.
    images, labels = np.zeros((4, 40, 40, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert load_data(tmp_path / "a.npz", image_size=40).enlarged == 0
    assert load_data(tmp_path / "a.npz", image_size=44).enlarged == 8
    assert load_data("synthetic:50", image_size=64).enlarged == 60
