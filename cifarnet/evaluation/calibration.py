"""Calibrate weights on held-out images: a temperature for their probabilities, and thresholds for unknown classes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.metrics import softmax
from cifarnet.models.embeddings import fit_statistics
from cifarnet.weights.record import Weights

ACCEPTED = 0.95
"""The fraction of held-out images that the rejection thresholds accept."""

FITTED_ON = 10_000
"""Training images that embedding statistics are fitted to. 10,000 of CIFAR-10 give what 49,000 give, and take as long
as the test images."""


def with_calibration(weights: Weights, logits: np.ndarray, labels: np.ndarray) -> Weights:
    """Return ``weights`` with a temperature and a threshold for the largest logit, both fitted to held-out images.

    Args:
        weights: the weights.
        logits: their logits for the held-out images, float (n, classes).
        labels: the true classes, int (n,).
    """
    temperature = fit_temperature(logits, labels)
    return replace(weights, temperature=temperature, reject_below=rejection_threshold(logits))


def with_distances(
    weights: Weights,
    embeddings: Callable[[np.ndarray], np.ndarray],
    train: Dataset,
    held_out: np.ndarray,
    count: int = FITTED_ON,
) -> Weights:
    """Return ``weights`` with the embedding statistics of training images, and a threshold for the distance.

    The fraction ``ACCEPTED`` of the held-out images is at or below the threshold. Weights of a network whose pictures
    are judged by the largest logit (``Family.distance_rejects``) are returned as they are.

    Args:
        weights: the weights.
        embeddings: returns their embeddings, float (n, size), of uint8 images (n, size, size, 3).
        train: the images of the training.
        held_out: images that the network was not trained on, uint8 (n, size, size, 3).
        count: about how many of the training images the statistics are fitted to.
    """
    if not weights.spec.family.distance_rejects:
        return weights
    classes = weights.spec.classes
    fitted_on = train.take(fitting_rows(train.labels, classes, count))
    statistics = fit_statistics(embeddings(fitted_on.images), fitted_on.labels, classes)
    beyond = float(np.quantile(statistics.distances(embeddings(held_out)), ACCEPTED))
    return replace(weights, statistics=statistics, reject_beyond=beyond)


def fitting_rows(labels: np.ndarray, classes: int, count: int) -> np.ndarray:
    """Return the rows of about ``count`` training images to fit statistics on: as many of each class, evenly spaced.

    A class of fewer images is taken whole. ``labels`` are int (n,).
    """
    each = max(1, count // classes)
    found = []
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        taken = min(each, len(rows))
        found.append(rows[np.arange(taken) * len(rows) // max(1, taken)])
    return np.sort(np.concatenate(found))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature T, 0.01 to 100, that minimizes the cross-entropy of softmax(logits / T).

    This is temperature scaling (Guo et al. 2017, arXiv:1706.04599) with the smoothed labels of Platt 1999
    ("Probabilistic outputs for support vector machines"), extended to more than two classes: a label is wrong with
    probability 1 / (n + 2), spread evenly over the other classes. Without smoothing, T would go to zero when all n
    predictions are right, and the first mistake would have an infinite loss.

    Args:
        logits: float (n, classes), for images that the network was not trained on.
        labels: the true classes, int (n,).
    """
    logits = logits.astype(np.float64)
    images, classes = logits.shape
    wrong = 1 / (images + 2)
    own = logits[np.arange(images), labels]
    others = (logits.sum(axis=1) - own) / (classes - 1)
    wanted = ((1 - wrong) * own + wrong * others).mean()
    # The cross-entropy is convex in 1 / T. Bisection finds the zero of its slope.
    low, high = 0.01, 100.0
    for _ in range(60):
        inverse = np.sqrt(low * high)
        slope = (softmax(logits * inverse) * logits).sum(axis=1).mean() - wanted
        low, high = (inverse, high) if slope < 0 else (low, inverse)
    return float(1 / np.sqrt(low * high))


def rejection_threshold(logits: np.ndarray, accepted: float = ACCEPTED) -> float:
    """Return the threshold for an image's largest logit, below which its class is probably unknown.

    The fraction ``accepted`` of the images with the given ``logits``, float (n, classes), is at or above it. Hendrycks
    et al. 2022 (arXiv:1911.11132) found that the largest logit detects unknown classes better than the largest
    probability.
    """
    return float(np.quantile(logits.max(axis=1), 1 - accepted))
