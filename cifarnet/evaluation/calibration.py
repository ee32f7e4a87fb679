"""By held-out images: making stated probabilities true, and knowing pictures that are of none of the classes."""

from dataclasses import replace

import numpy as np

from cifarnet.evaluation.metrics import softmax
from cifarnet.weights.record import Weights

KEPT = 0.95
"""The share of held-out images whose largest logit is not below the threshold."""


def with_calibration(weights: Weights, logits: np.ndarray, labels: np.ndarray) -> Weights:
    """``weights`` with the temperature and the rejection threshold that their ``logits`` on held-out images give."""
    temperature = fit_temperature(logits, labels)
    return replace(weights, temperature=temperature, reject_below=rejection_threshold(logits))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which softmax(logits / T) gives ``labels`` the lowest cross-entropy (Guo et al. 2017).

    ``logits`` (n, classes) and ``labels`` (n,) are of images that the network was not trained on. Each label is taken
    to be wrong with probability 1 / (n + 2), all other classes alike: where all n answers are right the best T would be
    zero, and the next, wrong one would cost without limit. By that rule (Platt 1999, "Probabilistic outputs for support
    vector machines", for two classes) few images allow of little confidence. T is 0.01 to 100.
    """
    logits = logits.astype(np.float64)
    images, classes = logits.shape
    wrong = 1 / (images + 2)
    own = logits[np.arange(images), labels]
    others = (logits.sum(axis=1) - own) / (classes - 1)
    wanted = ((1 - wrong) * own + wrong * others).mean()
    # The cross-entropy is convex in 1 / T, and this is its slope: bisection finds where that changes its sign.
    low, high = 0.01, 100.0
    for _ in range(60):
        inverse = np.sqrt(low * high)
        slope = (softmax(logits * inverse) * logits).sum(axis=1).mean() - wanted
        low, high = (inverse, high) if slope < 0 else (low, inverse)
    return float(1 / np.sqrt(low * high))


def rejection_threshold(logits: np.ndarray, kept: float = KEPT) -> float:
    """The largest logit that all but 1 - ``kept`` of the images behind ``logits`` (n, classes) reach.

    Hendrycks et al. 2022 (arXiv:1911.11132) found the largest logit a better sign of an unknown class than the largest
    probability.
    """
    return float(np.quantile(logits.max(axis=1), 1 - kept))
