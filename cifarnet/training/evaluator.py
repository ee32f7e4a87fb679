"""Classifying the held-out images during a run, with the network as it is then, in float32 as ``evaluate`` does."""

import time
from typing import Any

import numpy as np

from cifarnet.data.progress import Progress as Report
from cifarnet.inference.classifier import require_finite
from cifarnet.inference.engines import BATCH_SIZE
from cifarnet.models.answers import Logits, run_batches
from cifarnet.models.network import Network, build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization


class Evaluator:
    """Classifies the same ``inputs`` again and again, with ever other weights.

    ``exact`` says whether its logits at full size are those that ``evaluate`` sees, and may stand for the result.
    """

    exact = True

    def __init__(self, network: Network, inputs: np.ndarray):
        self.network = network
        self.inputs = inputs
        self._models: dict[int, Any] = {}

    def make_model(self, image_size: int) -> Any:
        """A Keras model from a batch of inputs to logits, as images shrunk to ``image_size`` give them."""
        raise NotImplementedError

    def logits(self, tensors: dict[str, np.ndarray], image_size: int, report: Report) -> np.ndarray:
        """Logits (n, classes) of the inputs, shrunk to ``image_size``, by the network with the weights ``tensors``.

        A network that has only seen shrunken images knows little of others: ResNet-20 in its fourth epoch at 20x20
        pixels scores 19 % on images of 32x32.

        Raises:
            WeightsError: when a logit is not a finite number.
        """
        self.network.set_tensors(tensors)
        logits = run_batches(self._model(image_size), self.inputs, BATCH_SIZE, report)
        return require_finite(logits, self.network.spec.title)

    def time(self, count: int) -> float:
        """Seconds that classifying ``count`` of the inputs takes, at full size."""
        started = time.monotonic()
        run_batches(self._model(self.network.spec.image_size), self.inputs[:count], BATCH_SIZE)
        return time.monotonic() - started

    def _model(self, image_size: int) -> Any:
        # One for each size: Keras's predict function does not know of it.
        if image_size not in self._models:
            self._models[image_size] = self.make_model(image_size)
        return self._models[image_size]


class ImageEvaluator(Evaluator):
    """Classifies uint8 images (n, size, size, 3)."""

    def __init__(self, spec: ModelSpec, normalization: Normalization, images: np.ndarray):
        super().__init__(build_model(spec), images)
        self.normalization = normalization

    def make_model(self, image_size: int) -> Any:
        """The network, behind normalization and shrinking."""
        return Logits(self.network, self.normalization, image_size)
