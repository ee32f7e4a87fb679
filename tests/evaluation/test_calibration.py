import numpy as np
import pytest

from cifarnet.evaluation.calibration import fit_temperature, rejection_threshold
from cifarnet.evaluation.metrics import cross_entropy, expected_calibration_error, softmax


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


def test_nineteen_in_twenty_pictures_reach_the_threshold():
    logits = np.random.default_rng(0).normal(size=(1000, 4))
    assert (logits.max(axis=1) >= rejection_threshold(logits)).sum() == 950
