"""Classify the held-out images with the current weights during a run, in float32, as ``cifarnet evaluate`` does."""

import time
from typing import Any

import numpy as np

from cifarnet.data.progress import Progress
from cifarnet.inference.classifier import require_finite
from cifarnet.inference.engines import default_batch_size
from cifarnet.models.answers import Logits, run_batches
from cifarnet.models.network import Network, build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization


class Evaluator:
    """Classifies the same ``inputs`` with changing weights."""

    exact = True
    """Whether the logits at full size equal those of ``cifarnet evaluate``, and can be used for the result."""

    def __init__(self, network: Network, inputs: np.ndarray):
        self.network = network
        self.inputs = inputs
        self.batch_size = default_batch_size(network.spec)
        self._models: dict[int, Any] = {}

    def make_model(self, image_size: int) -> Any:
        """Return a Keras model from a batch of inputs to logits, for images shrunk to ``image_size``."""
        raise NotImplementedError

    def logits(self, tensors: dict[str, np.ndarray], image_size: int, report: Progress) -> np.ndarray:
        """Return logits (n, classes) of the inputs.

        During training on shrunken images, the inputs must be shrunk too: ResNet-20 in its fourth epoch at 20x20 pixels
        has an accuracy of 19 % on images of 32x32.

        Args:
            tensors: the weights of the network by name.
            image_size: the side in pixels to which the inputs are shrunk.
            report: receives the progress.

        Raises:
            WeightsError: when a logit is NaN or infinite.
        """
        self.network.set_tensors(tensors)
        logits = run_batches(self._model(image_size), self.inputs, self.batch_size, report)
        return require_finite(logits, self.network.spec.title)

    def time(self, count: int) -> float:
        """Return the seconds that classifying ``count`` of the inputs at full size takes."""
        started = time.monotonic()
        run_batches(self._model(self.network.spec.image_size), self.inputs[:count], self.batch_size)
        return time.monotonic() - started

    def _model(self, image_size: int) -> Any:
        # One model for each size, because Keras's predict function is traced for one size.
        if image_size not in self._models:
            self._models[image_size] = self.make_model(image_size)
        return self._models[image_size]


class ImageEvaluator(Evaluator):
    """Classifies uint8 images (n, size, size, 3)."""

    def __init__(self, spec: ModelSpec, normalization: Normalization, images: np.ndarray):
        super().__init__(build_model(spec), images)
        self.normalization = normalization

    def make_model(self, image_size: int) -> Any:
        """Return the network after normalization and shrinking."""
        return Logits(self.network, self.normalization, image_size)
