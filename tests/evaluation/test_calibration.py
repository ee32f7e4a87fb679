import numpy as np
import pytest

from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.calibration import fit_temperature, fitting_rows, rejection_threshold, with_distances
from cifarnet.evaluation.metrics import cross_entropy, expected_calibration_error, softmax
from cifarnet.models.embeddings import fit_statistics
from cifarnet.models.spec import ModelSpec
from tests.support.weights import random_weights


def drawn(temperature, n=20_000):
    """Logits whose softmax at ``temperature`` is what the labels are drawn from."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (n, 5)).astype(np.float32)
    probabilities = softmax(logits / temperature)
    labels = (probabilities.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_labels_drawn_at_one_is_found(temperature):
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_fitted_temperature_lowest_loss_and_true_probabilities():
    logits, labels = drawn(2.5)
    found = fit_temperature(logits, labels)
    losses = [cross_entropy(logits / (found * factor), labels) for factor in (0.95, 1.0, 1.05)]
    assert losses[1] == min(losses)
    assert expected_calibration_error(logits / found, labels) < 0.01 < expected_calibration_error(logits, labels)


@pytest.mark.parametrize("images", [3, 15, 3000])
def test_temperature_is_limited_when_every_answer_is_right(images):
    labels = np.arange(images) % 3
    logits = np.eye(3, dtype=np.float32)[labels]
    stated = 1 / (1 + 2 * np.exp(-1 / fit_temperature(logits, labels)))
    assert stated == pytest.approx((images + 1) / (images + 2), rel=1e-6)


def test_statistics_and_threshold_come_from_their_own_images():
    spec = ModelSpec("resnet8", 3, 12)
    rng = np.random.default_rng(0)
    train, held_out = (rng.integers(0, 256, (count, 12, 12, 3), np.uint8) for count in (60, 40))
    labels = (np.arange(60) % 3).astype(np.int32)

    def embeddings(images):
        return np.stack([images[:, :8, :8, channel].reshape(-1, 64) for channel in range(3)]).mean(axis=0)

    dataset = Dataset(train, labels, ("c0", "c1", "c2"))
    weights = with_distances(random_weights(spec), embeddings, dataset, held_out, count=30)
    rows = fitting_rows(labels, 3, 30)
    wanted = fit_statistics(embeddings(train[rows]), labels[rows], 3)
    np.testing.assert_array_equal(weights.statistics.means, wanted.means)
    distances = wanted.distances(embeddings(held_out))
    assert (distances <= weights.reject_beyond).sum() == 38  # Of 40.


@pytest.mark.parametrize("model", ["airbench94", "airbench94-slim"])
def test_networks_whose_distances_tell_nothing_are_judged_by_the_largest_logit(model):
    weights = random_weights(ModelSpec(model, 3))
    dataset = Dataset(np.zeros((6, 32, 32, 3), np.uint8), np.array([0, 1, 2] * 2, np.int32), ("a", "b", "c"))
    assert with_distances(weights, pytest.fail, dataset, dataset.images) is weights


def test_as_many_images_of_each_class_are_fitted_as_there_are():
    labels = np.array([0] * 100 + [1] * 3 + [2] * 10)
    assert np.bincount(labels[fitting_rows(labels, 4, 20)], minlength=4).tolist() == [5, 3, 5, 0]
    assert fitting_rows(labels, 4, 20)[:5].tolist() == [0, 20, 40, 60, 80]
    assert fitting_rows(labels, 4, 10**6).tolist() == list(range(113))
    assert np.bincount(labels[fitting_rows(labels, 3, 1)]).tolist() == [1, 1, 1]


def test_nineteen_in_twenty_pictures_reach_the_threshold():
    logits = np.random.default_rng(0).normal(size=(1000, 4))
    assert (logits.max(axis=1) >= rejection_threshold(logits)).sum() == 950
