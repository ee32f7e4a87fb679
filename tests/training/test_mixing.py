"""Mixed images and labels, against the formulas written out in NumPy."""

import numpy as np
import pytest

from cifarnet.backend.devices import Execution
from cifarnet.data.augmentation import draw_columns, training_images
from cifarnet.data.mixing import cutmix_draws, mixup_draws, own_weights
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.recipes import RECIPES
from cifarnet.training.distillation import Student
from cifarnet.training.model import TrainingModel, epoch_order
from cifarnet.weights.record import Weights

SPEC = ModelSpec("resnet8")
NORMALIZATION = Normalization(120.0, 64.0)
COUNT = 6
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.int32)
LOGITS = np.random.default_rng(1).normal(0, 3, (2, COUNT, 10)).astype(np.float32)
RECIPE = RECIPES["paper"].with_changes(batch_size=COUNT, l2=0.0, cutout=8)
MIXUP, CUTMIX = RECIPE.with_changes(mixup=0.5), RECIPE.with_changes(cutmix=1.0)
BOTH = RECIPE.with_changes(mixup=0.5, cutmix=0.5)
MIXING = pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])


def batch(recipe):
    rows, draws = epoch_order(recipe, 0, 0, COUNT)
    return {"rows": rows, "draws": draws}


def training_model(recipe):
    return TrainingModel(build_model(SPEC), IMAGES, NORMALIZATION, recipe, Execution("float32", False, 1))


def weights_of(recipe, draws):
    """The weight of each image's pixels in its mixture."""
    columns = draw_columns(recipe)
    weights = np.ones((len(draws), 32, 32, 1), np.float32)
    if recipe.mixup:
        weights *= draws[:, columns["mixup"], None, None]
    if recipe.cutmix:
        for weight, (side, *place) in zip(weights, draws[:, columns["cutmix"]], strict=True):
            if side:
                weight[:] = 1
            side = int(32 * side)
            begin = np.floor(32 * np.array(place)).astype(int) - side // 2
            (top, left), (bottom, right) = np.clip(begin, 0, 32), np.clip(begin + side, 0, 32)
            weight[top:bottom, left:right] = 0
    return weights


def soft_labels(shares, smoothing=0.0):
    """One-hot labels, smoothed, then mixed with those of the next image."""
    hot = (1 - smoothing) * np.eye(10)[LABELS] + smoothing / 10
    return shares[:, None] * hot + (1 - shares[:, None]) * np.roll(hot, -1, axis=0)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_shares_of_mixup_have_a_beta_distribution():
    for alpha in (0.2, 1.0, 4.0):
        shares = mixup_draws(np.random.default_rng(0), 20_000, alpha)
        assert shares.shape == (20_000, 1)
        assert shares.mean() == pytest.approx(0.5, abs=0.01)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_squares_of_cutmix_have_uniform_areas_and_places(probability):
    draws = cutmix_draws(np.random.default_rng(0), 20_000, probability)
    assert (draws.shape, draws.dtype) == ((20_000, 3), np.float32)
    cut = draws[:, 0] > 0
    assert cut.mean() == pytest.approx(probability, abs=0.01)
    for uniform in (draws[cut, 0] ** 2, draws[:, 1], draws[:, 2]):
        np.testing.assert_allclose(np.histogram(uniform, 4, (0, 1))[0] / len(uniform), 0.25, atol=0.02)


def test_with_both_an_image_is_cut_or_added():
    given = batch(BOTH)
    weights = np.asarray(own_weights(given["draws"], BOTH, 32))
    np.testing.assert_allclose(weights, weights_of(BOTH, given["draws"]), atol=1e-6)
    cut = given["draws"][:, draw_columns(BOTH)["cutmix"]][:, 0] > 0
    assert 0 < cut.sum() < COUNT
    assert set(np.unique(weights[cut])) == {0.0, 1.0}
    assert all(len(np.unique(weight)) == 1 for weight in weights[~cut])


@MIXING
def test_an_augmented_image_is_mixed_with_the_next_of_its_batch(recipe):
    given = batch(recipe)
    alone = np.asarray(training_images(IMAGES[given["rows"]], given["draws"], recipe, NORMALIZATION))
    weights = weights_of(recipe, given["draws"])
    wanted = weights * alone + (1 - weights) * np.roll(alone, -1, axis=0)
    found = np.asarray(training_model(recipe).augmented(given))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - alone).max() > 0.5


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@MIXING
def test_the_loss_is_the_cross_entropy_of_the_shared_label(recipe, smoothing):
    given, made = batch(recipe), training_model(recipe.with_changes(label_smoothing=smoothing))
    shares = weights_of(recipe, given["draws"]).mean(axis=(1, 2, 3))
    logs = log_softmax(LOGITS[0])
    found = float(np.asarray(made.compute_loss(x=given, y=LABELS, y_pred=LOGITS[0])))
    assert found == pytest.approx(-(soft_labels(shares, smoothing) * logs).sum(axis=1).mean(), rel=1e-5)
    shown = float(np.asarray(made.cross_entropy.result()))
    assert shown == pytest.approx(-(soft_labels(shares) * logs).sum(axis=1).mean(), rel=1e-5)


@MIXING
def test_an_answer_counts_as_its_share_of_the_label(recipe):
    given, made = batch(recipe), training_model(recipe)
    shares = weights_of(recipe, given["draws"]).mean(axis=(1, 2, 3))
    answers = np.roll(LABELS, -1)
    answers[:3] = LABELS[:3]
    wanted = soft_labels(shares)[np.arange(COUNT), answers]
    assert (wanted < 1).any()
    found = made.compute_metrics(given, LABELS, np.eye(10, dtype=np.float32)[answers])
    assert float(found["accuracy"]) == pytest.approx(wanted.mean(), rel=1e-5)
    # Over the epoch, each image counts once.
    again = made.compute_metrics(given, LABELS, np.eye(10, dtype=np.float32)[(answers + 1) % 10])
    assert float(again["accuracy"]) < wanted.mean()


def test_a_student_follows_the_teacher_and_the_shared_label():
    recipe = MIXUP.with_changes(distillation=0.25, distillation_temperature=2.0)
    spec = ModelSpec("resnet14")
    teacher = Weights(spec, initial_weights(spec, 7), CIFAR10_CLASSES, NORMALIZATION)
    made = Student(build_model(SPEC), (teacher,), IMAGES, NORMALIZATION, recipe, Execution("float32", False, 1))
    given = batch(recipe)
    shares = weights_of(recipe, given["draws"]).mean(axis=(1, 2, 3))
    mine, theirs = log_softmax(LOGITS / 2)
    divergence = (np.exp(theirs) * (theirs - mine)).sum(axis=1).mean()
    entropy = -(soft_labels(shares) * log_softmax(LOGITS[0])).sum(axis=1).mean()
    found = float(np.asarray(made.compute_loss(x=given, y=LABELS, y_pred=np.moveaxis(LOGITS, 0, 1))))
    assert found == pytest.approx(0.25 * 4 * divergence + 0.75 * entropy, rel=1e-5)
    seen, alone = (np.asarray(each.augmented(given)) for each in (made, training_model(recipe)))
    np.testing.assert_array_equal(seen, alone)
