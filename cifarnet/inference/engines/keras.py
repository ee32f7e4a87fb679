"""Compute logits, distances, features and gradients with Keras, on TensorFlow or JAX."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.backend.select import use_backend
from cifarnet.data.progress import Progress
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from cifarnet.models.network import Network


class KerasEngine:
    """Runs the Keras model of a network.

    The model is built at its first use, which imports Keras and its backend and takes seconds.
    """

    def __init__(self, weights: Weights, *, precision: str = "float32"):
        self.weights = weights

    @cached_property
    def network(self) -> "Network":
        """The Keras model, which is built at the first access."""
        use_backend()
        from cifarnet.models.network import build_model

        return build_model(self.weights.spec, self.weights.tensors)

    @cached_property
    def _logits(self) -> Any:
        network = self.network
        from cifarnet.models.answers import Logits

        return Logits(network, self.weights.normalization)

    @cached_property
    def _logits_and_embeddings(self) -> Any:
        network = self.network
        from cifarnet.models.answers import LogitsAndEmbeddings

        return LogitsAndEmbeddings(network, self.weights.normalization)

    @cached_property
    def _features(self) -> Any:
        network = self.network
        from cifarnet.models.answers import Features

        return Features(network, self.weights.normalization)

    def logits(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3); see ``Engine``."""
        return self._run(self._logits, images, batch_size, compiled, report)

    def logits_and_distances(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits and distances, float32 (n, classes + 1), of ``images``; see ``Engine``."""
        statistics = self.weights.required_statistics()
        both = self._run(self._logits_and_embeddings, images, batch_size, compiled, report)
        logits, embeddings = np.split(both, [self.weights.spec.classes], axis=1)
        return np.column_stack([logits, statistics.distances(embeddings)])

    def embeddings(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return embeddings, the input of the classifier, float32 (n, size), of uint8 ``images``."""
        both = self._run(self._logits_and_embeddings, images, batch_size, compiled, report)
        return both[:, self.weights.spec.classes :]

    def features(self, images: np.ndarray, *, batch_size: int, compiled: bool = True) -> np.ndarray:
        """Return features, the output of the network's base, for uint8 ``images`` (n, size, size, 3)."""
        return self._run(self._features, images, batch_size, compiled, None)

    def feature_gradients(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the gradient of each image's logit for its label with respect to ``features``, in their shape.

        ``labels`` are int (n,).
        """
        network = self.network
        from cifarnet.models.gradients import feature_gradients

        return np.asarray(feature_gradients(network, features, labels))

    def _run(
        self, model: Any, images: np.ndarray, batch_size: int, compiled: bool, report: Progress | None
    ) -> np.ndarray:
        from cifarnet.models.answers import run_batches

        return run_batches(model, images, batch_size, report, compiled)
