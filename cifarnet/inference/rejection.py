"""Decide which pictures probably belong to none of the classes."""

from dataclasses import dataclass

import numpy as np

from cifarnet.choices import DISTANCE, LARGEST_LOGIT
from cifarnet.errors import InvalidValueError
from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class Rejection:
    """A score of pictures, and its threshold.

    Attributes:
        score: ``DISTANCE``, the distance of the embedding from the training images (``cifarnet.models.embeddings``), or
            ``LARGEST_LOGIT`` for weights without embedding statistics.
        threshold: pictures with a larger distance, or a smaller largest logit, are rejected. It keeps 95 % of the
            held-out images with one view.
    """

    score: str
    threshold: float

    @classmethod
    def of(cls, weights: Weights) -> "Rejection | None":
        """Return the score and the threshold of ``weights``; None for weights without a threshold."""
        # Earlier versions stored statistics for all networks.
        if weights.reject_beyond is not None and weights.spec.family.distance_rejects:
            return cls(DISTANCE, weights.reject_beyond)
        return None if weights.reject_below is None else cls(LARGEST_LOGIT, weights.reject_below)

    @property
    def by_distance(self) -> bool:
        """Whether distances are needed."""
        return self.score == DISTANCE

    def rejected(self, logits: np.ndarray, distances: np.ndarray | None) -> np.ndarray:
        """Return whether each picture is rejected, bool (n,).

        Args:
            logits: float (n, classes), the mean of all views.
            distances: float (n,), the mean of all views. Only ``by_distance`` needs them.
        """
        if not self.by_distance:
            small: np.ndarray = logits.max(axis=1) < self.threshold
            return small
        assert distances is not None
        # Distances that are not numbers, which a crafted file can have, are rejected too.
        return ~(distances <= self.threshold)


def required_rejection(weights: Weights) -> Rejection:
    """Return the score and the threshold by which pictures are rejected.

    Raises:
        InvalidValueError: when the weights have none.
    """
    found = Rejection.of(weights)
    if found is None:
        raise InvalidValueError(
            "`reject` needs weights with a rejection threshold, which is measured on validation images. Train with"
            " `validation_split`, or on data with a folder val/. Received: weights without a threshold",
            field="reject",
            value=True,
        )
    return found
