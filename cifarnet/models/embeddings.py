"""Distances of embeddings from those of the training images, by which pictures of none of the classes are found.

The embedding of an image is the input of the network's classifier, its last layer with weights, as a vector
(``cifarnet.models.spec.around_classifier``). Its distance is the Mahalanobis distance from the nearest class mean, with
one covariance for all classes (Lee et al. 2018, arXiv:1807.03888), after the embedding was divided by its length
(Müller and Hein 2025, arXiv:2505.18032).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cifarnet.models.spec import ModelSpec, embedding_size

TINY = 1e-12
"""Added to the length of an embedding, so that one of zeros can be divided by it."""


@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """Where the embeddings of training images are, after the division by their length.

    Attributes:
        means: the mean of each class, float32 (classes, size).
        whitening: a matrix W, float32 (size, size), such that W times its transpose is the inverse of the covariance of
            embeddings around the means of their classes.
    """

    means: np.ndarray
    whitening: np.ndarray

    @staticmethod
    def shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
        """Return the shapes of the arrays for the network ``spec``, by the names of the attributes."""
        size = embedding_size(spec)
        return {"means": (spec.classes, size), "whitening": (size, size)}

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return the arrays by the names of the attributes."""
        return {"means": self.means, "whitening": self.whitening}

    def whitened_means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of the means, float64 (size,), and the whitened means around it, float64 (classes, size).

        The centre keeps the products of ``distances`` small, so that their differences are exact enough in float32.
        """
        means = self.means.astype(np.float64)
        centre = means.mean(axis=0)
        return centre, (means - centre) @ self.whitening.astype(np.float64)

    def bound(self) -> float:
        """Return an upper bound of the lengths of whitened embeddings and means."""
        centre, means = self.whitened_means()
        return float((1 + np.linalg.norm(centre)) * np.linalg.norm(self.whitening.astype(np.float64))) + float(
            np.linalg.norm(means)
        )

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the distance of each of the ``embeddings``, float (n, size), as float32 (n,)."""
        centre, means = self.whitened_means()
        with np.errstate(over="ignore", invalid="ignore"):  # The numbers of a crafted file can be huge.
            whitened = (unit_length(embeddings) - centre) @ self.whitening.astype(np.float64)
            nearest = ((means**2).sum(axis=1) - 2 * whitened @ means.T).min(axis=1)
            return np.sqrt(np.maximum((whitened**2).sum(axis=1) + nearest, 0)).astype(np.float32)


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Return ``embeddings`` (n, size) divided by their Euclidean lengths, float64."""
    wide = embeddings.astype(np.float64)
    divided: np.ndarray = wide / (np.linalg.norm(wide, axis=1, keepdims=True) + TINY)
    return divided


def fit_statistics(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> EmbeddingStatistics:
    """Return the statistics of the ``embeddings`` of training images, float (n, size), with ``labels``, int (n,).

    The covariance is shrunk towards a multiple of the identity by the fraction of Ledoit and Wolf 2004 ("A
    well-conditioned estimator for large-dimensional covariance matrices"), so that it has an inverse also for fewer
    images than the embedding has numbers.
    """
    units = unit_length(embeddings)
    count, size = units.shape
    sums = np.zeros((classes, size))
    np.add.at(sums, labels, units)
    means = sums / np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]
    around = units - means[labels]
    covariance = around.T @ around / count
    variance = np.trace(covariance) / size
    # The distance of the covariance from the identity, and how much of it is chance.
    spread = ((covariance - variance * np.eye(size)) ** 2).sum()
    chance = ((around**2).T @ (around**2) / count - covariance**2).sum() / count
    fraction = min(1.0, chance / spread) if spread > 0 else 1.0
    shrunk = (1 - fraction) * covariance + fraction * variance * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    # A constant number of the embeddings would have a variance of zero.
    whitening = vectors / np.sqrt(np.maximum(values, max(_SMALLEST * variance, TINY)))
    return EmbeddingStatistics(means.astype(np.float32), whitening.astype(np.float32))


_SMALLEST = 1e-6
"""The smallest variance in a direction, as a fraction of the mean variance."""
