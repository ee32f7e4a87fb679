import keras
import numpy as np
import pytest

from cifarnet.backend.devices import Execution
from cifarnet.data.sources import load_data
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.training.model import TrainingModel, epoch_order
from cifarnet.training.samples import training_samples


@pytest.fixture
def shapes():
    return load_data("synthetic:100").train


VARIED = {"jitter": 0.3, "trivial_augment": True, "mixup": 0.5, "cutmix": 0.5}


@pytest.mark.parametrize("changes", [{"batch_size": 100, "cutout": 8}, {"batch_size": 40, **VARIED}])
def test_samples_are_augmented_as_in_training(shapes, changes):
    recipe = RECIPES["documented"].with_changes(**changes)
    samples = training_samples(shapes, recipe, per_class=3)
    seen = []
    network = build_model(ModelSpec("resnet8"))
    normalization = Normalization.of(shapes.images)
    model = TrainingModel(
        network, shapes.images, normalization, recipe, Execution("float32", jit=False, steps_per_call=1)
    )
    network.logits = lambda images, training: seen.append(keras.ops.convert_to_numpy(images))
    rows, draws = epoch_order(recipe, 0, 0, len(shapes))
    for begin in range(0, len(rows), recipe.batch_size):
        part = slice(begin, begin + recipe.batch_size)
        model.call({"rows": rows[part], "draws": draws[part]})
    shown = np.clip(np.rint(np.concatenate(seen) * normalization.std + normalization.mean), 0, 255)
    for label in range(10):
        of_class = np.flatnonzero(shapes.labels[rows] == label)[:3]
        np.testing.assert_array_equal(samples.raw[label], shapes.images[rows[of_class]])
        np.testing.assert_allclose(samples.augmented[label], shown[of_class], atol=1)


def test_samples_without_augmentation_are_unchanged(shapes):
    plain = RECIPES["documented"].with_changes(rotation=0.0, shift=0.0, flip=False)
    samples = training_samples(shapes, plain)
    for raw, augmented in zip(samples.raw, samples.augmented, strict=True):
        np.testing.assert_array_equal(raw, augmented)


def test_a_class_with_few_or_no_images_has_few_or_no_samples(shapes):
    samples = training_samples(shapes.take(np.flatnonzero(shapes.labels != 4)), RECIPES["paper"], per_class=20)
    assert [len(each) for each in samples.raw] == [10, 10, 10, 10, 0, 10, 10, 10, 10, 10]
    assert [each.shape[1:] for each in samples.augmented] == [(32, 32, 3)] * 10
