"""What logits and labels say about a classifier, as NumPy functions.

Throughout, ``logits`` are floats (n, classes) and ``labels`` are integers (n,), the true classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cifarnet.errors import DataError

# The 97.5 % quantile of the standard normal distribution: 95 % lie within this many standard deviations.
_Z = 1.959963984540054


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities, float64 (n, classes); finite for logits of any finite size."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 (n, classes)."""
    probabilities: np.ndarray = np.exp(log_softmax(logits))
    return probabilities


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the true class, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def ranking(scores: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` classes with the highest scores, best first: (n, k). Ties go to the lower class, as in argmax."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of images whose true class is among the ``k`` highest logits; 1 when there are no more than k classes."""
    return float((ranking(logits, k) == labels[:, None]).any(axis=1).mean())


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose highest logit is that of the true class."""
    return top_k_accuracy(logits, labels, 1)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % score interval of a ``share`` observed in ``n`` independent trials (Wilson 1927, JASA 22, 209-212).

    Unlike the normal approximation it stays within [0, 1] and has a width at 0 and 1.
    """
    scale = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # At shares of 0 and 1 an end is the share itself; rounding would leave it 1e-16 inside.
    low, high = float(centre - half) if share > 0 else 0.0, float(centre + half) if share < 1 else 1.0
    return max(0.0, low), min(1.0, high)


def reliability_bins(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> list[dict[str, float]]:
    """``images``, mean ``confidence`` and ``accuracy`` in equal-width bins of confidence; zeros in an empty bin.

    Bin m of M holds the confidences in ((m - 1) / M, m / M] (Guo et al. 2017, arXiv:1706.04599, equation 3).
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
    """Mean distance between confidence and accuracy over the images' ``reliability_bins`` (Guo et al. 2017)."""
    return sum(
        each["images"] * abs(each["accuracy"] - each["confidence"]) for each in reliability_bins(logits, labels, bins)
    ) / len(labels)


def surest_mistakes(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, count: int) -> np.ndarray:
    """Rows of the ``count`` wrong answers with the highest ``confidence`` (n,), the surest first."""
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")[:count]]


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images by true class (rows) and predicted class (columns), int64 (classes, classes)."""
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + ranking(logits, 1)[:, 0]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassMetrics:
    """How one class fares. ``support`` is the number of its images.

    Precision is undefined for a class that is never predicted, recall for one without images, F1 for one with
    neither: they are 0 then.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def per_class(confusion: np.ndarray, class_names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall, F1 and support of every class from a confusion matrix (rows: true, columns: predicted)."""
    hits, predicted, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    # Where a denominator is 0 there are no hits either, so a 1 in its place gives the 0 that is wanted.
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    return tuple(
        ClassMetrics(*row)
        for row in zip(class_names, *(x.tolist() for x in (precision, recall, f1, support)), strict=True)
    )


@dataclass(frozen=True)
class Metrics:
    """A classifier's scores on ``images`` images; shares and the calibration error from 0 to 1, loss in nats.

    ``top5_accuracy`` counts the top 5 or, with fewer classes, all; ``confusion_matrix`` has the true classes as rows.
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
        """The scores as JSON-ready data, under the names of ``cifarnet evaluate --json``."""
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
    """All scores of ``logits`` (n, classes) against ``labels`` (n,).

    Raises:
        DataError: without images, or when the shapes don't fit one another and ``class_names``.
    """
    if not len(labels) or logits.shape != (len(labels), len(class_names)):
        raise DataError(
            "Metrics need at least one image, with a label each and a logit for each class."
            f" Received: {len(labels)} labels, logits of shape {logits.shape}, {len(class_names)} classes"
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
