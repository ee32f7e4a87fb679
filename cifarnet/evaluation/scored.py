"""Test images with a network's logits, from which reports draw curves and show mistakes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.metrics import ranking, softmax, surest_mistakes


@dataclass(frozen=True)
class Scored:
    """The images of ``data`` and their calibrated ``logits``, floats (n, classes)."""

    data: Dataset
    logits: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each image, integers (n,)."""
        return ranking(self.logits, 1)[:, 0]

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the likeliest class, (n,)."""
        confidence: np.ndarray = softmax(self.logits).max(axis=1)
        return confidence

    def mistakes(self, count: int) -> np.ndarray:
        """Return the rows of the ``count`` wrong predictions with the highest confidence, the highest first."""
        return surest_mistakes(self.data.labels, self.predicted, self.confidence, count)
