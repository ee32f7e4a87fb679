"""Classifying the held-out images during a run, with the network as it is then, in float32 as ``evaluate`` does."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cifarnet.evaluation.inference import finite, logits_model, run_batches
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec, Normalization

Report = Callable[[str, int, int | None], None]

BATCH_SIZE = 250


class ImageTester:
    """Classifies the same images again and again, with ever other weights."""

    def __init__(self, spec: ModelSpec, normalization: Normalization, images: np.ndarray):
        self.spec = spec
        self.normalization = normalization
        self.images = images
        self.network = build_model(spec)
        self._models: dict[int, Any] = {}

    def logits(self, tensors: dict[str, np.ndarray], image_size: int, report: Report) -> np.ndarray:
        """Logits (n, classes) of the images, shrunk to ``image_size``, by the network with the weights ``tensors``.

        A network that has only seen shrunken images knows little of others: ResNet-20 in its fourth epoch at 20x20
        pixels scores 19 % on images of 32x32.
        """
        self.network.set_tensors(tensors)
        return finite(run_batches(self._model(image_size), self.images, BATCH_SIZE, report), self.spec.title)

    def time(self, count: int) -> float:
        """Seconds that classifying ``count`` of the images takes, at full size."""
        started = time.monotonic()
        run_batches(self._model(self.spec.image_size), self.images[:count], BATCH_SIZE)
        return time.monotonic() - started

    def _model(self, image_size: int) -> Any:
        # One for each size: Keras's predict function does not know of it.
        if image_size not in self._models:
            self._models[image_size] = logits_model(self.network, self.normalization, image_size)
        return self._models[image_size]
