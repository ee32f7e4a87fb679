"""Compute classification metrics from logits and labels, with NumPy.

In all functions ``logits`` are float (n, classes), and ``labels`` are the true classes, int (n,).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cifarnet.errors import DataError
from cifarnet.plurals import counted

# The 97.5 % quantile of the standard normal distribution: 95 % lie within this many standard deviations.
_Z = 1.959963984540054


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float64 (n, classes). They are finite for all finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, float64 (n, classes)."""
    probabilities: np.ndarray = np.exp(log_softmax(logits))
    return probabilities


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-probability of the true class, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def ranking(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the ``k`` classes with the highest scores, best first, int (n, k).

    Of equal scores the lower class comes first, as in argmax.
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the fraction of images whose true class is among the ``k`` highest logits.

    It is 1 when there are at most k classes.
    """
    return float((ranking(logits, k) == labels[:, None]).any(axis=1).mean())


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of images whose highest logit is that of the true class."""
    return top_k_accuracy(logits, labels, 1)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a ``share`` observed in ``n`` independent trials.

    Unlike the normal approximation, it stays within [0, 1], and its width is above 0 at shares of 0 and 1 (Wilson
    1927, JASA 22, 209-212).
    """
    scale = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # At shares of 0 and 1 one end equals the share, but rounding errors would move it by 1e-16.
    low, high = float(centre - half) if share > 0 else 0.0, float(centre + half) if share < 1 else 1.0
    return max(0.0, low), min(1.0, high)


def reliability_bins(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> list[dict[str, float]]:
    """Return a dict with ``images``, mean ``confidence`` and ``accuracy`` for each of ``bins`` bins of confidence.

    Bin m of M holds the confidences in ((m - 1) / M, m / M] (Guo et al. 2017, arXiv:1706.04599, equation 3). The
    values of an empty bin are 0.
    """
    confidence = softmax(logits).max(axis=1)
    correct = ranking(logits, 1)[:, 0] == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    images, stated, right = (np.bincount(bin_of, weights, bins) for weights in (None, confidence, correct))
    filled = np.maximum(images, 1)
    return [
        {"images": int(count), "confidence": float(mean), "accuracy": float(share)}
        for count, mean, share in zip(images, stated / filled, right / filled, strict=True)
    ]


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599).

    It is the mean absolute difference between confidence and accuracy of ``reliability_bins``, weighted by images.
    """
    return sum(
        each["images"] * abs(each["accuracy"] - each["confidence"]) for each in reliability_bins(logits, labels, bins)
    ) / len(labels)


def surest_mistakes(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of the ``count`` wrong predictions with the highest ``confidence``, the highest first.

    ``labels`` and ``predicted`` are int (n,), ``confidence`` is float (n,).
    """
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")[:count]]


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return counts of images by true class (rows) and predicted class (columns), int64 (classes, classes)."""
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + ranking(logits, 1)[:, 0]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassMetrics:
    """The scores of one class. ``support`` is the number of its images.

    Undefined scores are 0: the precision of a class that is never predicted, the recall of a class without images, and
    the F1 of a class with neither.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def per_class(confusion: np.ndarray, class_names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Return the scores of every class from a confusion matrix (rows: true, columns: predicted)."""
    hits, predicted, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    # Where a denominator is 0, hits are 0 too. A denominator of 1 then gives 0.
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    return tuple(
        ClassMetrics(*row)
        for row in zip(class_names, *(x.tolist() for x in (precision, recall, f1, support)), strict=True)
    )


@dataclass(frozen=True)
class Metrics:
    """A classifier's scores on test images.

    Attributes:
        accuracy: fraction of images that are classified correctly, 0 to 1.
        accuracy_interval: its 95 % interval (``wilson_interval``).
        loss: mean cross-entropy in nats.
        top5_accuracy: fraction of images whose true class is among the five highest logits.
        ece: expected calibration error, 0 to 1.
        per_class: the scores of each class.
        confusion_matrix: counts of images by true class (rows) and predicted class (columns).
        images: number of images.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    top5_accuracy: float
    ece: float
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data, under the names of ``cifarnet evaluate --json``."""
        classes = [{"class": values.pop("name"), **values} for values in map(asdict, self.per_class)]
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "loss": self.loss,
            "top5_accuracy": self.top5_accuracy,
            "ece": self.ece,
            "per_class": classes,
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "images": self.images,
        }


def measure(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Metrics:
    """Return all scores of ``logits``, float (n, classes), for the true classes ``labels``, int (n,).

    Raises:
        DataError: when there are no images, or when the shapes or the number of class names disagree.
    """
    if not len(labels) or logits.shape != (len(labels), len(class_names)):
        raise DataError(
            "Metrics need at least one image, with a label each and a logit for each class."
            f" Received: {counted(len(labels), 'label')}, logits of shape {logits.shape},"
            f" {counted(len(class_names), 'class')}"
        )
    share = accuracy(logits, labels)
    confusion = confusion_matrix(logits, labels)
    return Metrics(
        accuracy=share,
        accuracy_interval=wilson_interval(share, len(labels)),
        loss=cross_entropy(logits, labels),
        top5_accuracy=top_k_accuracy(logits, labels, 5),
        ece=expected_calibration_error(logits, labels),
        per_class=per_class(confusion, class_names),
        confusion_matrix=tuple(map(tuple, confusion.tolist())),
        images=len(labels),
    )
