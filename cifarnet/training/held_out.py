"""Classifying the held-out images during a run, with the network as it is then, in float32 as ``evaluate`` does."""

import time
from collections.abc import Callable

import numpy as np

from cifarnet.evaluation.inference import Classifier

Report = Callable[[str, int, int | None], None]


class ImageTester:
    """Classifies the same images again and again, with ever other weights."""

    def __init__(self, classifier: Classifier, images: np.ndarray):
        self.classifier = classifier
        self.images = images

    def logits(self, tensors: dict[str, np.ndarray], report: Report) -> np.ndarray:
        """Logits (n, classes) of the images by the network with the weights ``tensors``."""
        self.classifier.network.set_tensors(tensors)
        return self.classifier.logits(self.images, report=report)

    def time(self, count: int) -> float:
        """Seconds that classifying ``count`` of the images takes."""
        started = time.monotonic()
        self.classifier.logits(self.images[:count])
        return time.monotonic() - started
