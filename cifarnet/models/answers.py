"""Keras models that compute logits, embeddings or features from uint8 images, or logits from features.

Images are normalized on the device, because uint8 images have a quarter of the bytes of float32 images to transfer.
Importing this module imports Keras and its backend, which takes seconds: import it inside functions.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.augmentation import normalize, shrink
from cifarnet.data.progress import Progress
from cifarnet.models.batches import in_batches
from cifarnet.models.network import Network
from cifarnet.models.spec import embedding_size
from cifarnet.preprocessing import Normalization


class _OfImages(keras.Model):
    """A model of uint8 images (batch, size, size, 3), which it normalizes."""

    def __init__(self, network: Network, normalization: Normalization):
        super().__init__(name=type(self).__name__.lower())
        self.network = network
        self.normalization = normalization


class Logits(_OfImages):
    """A model from uint8 images (batch, size, size, 3) to logits (batch, classes).

    With ``image_size``, in pixels, images are shrunk to it first, as in training with progressive resizing.
    """

    def __init__(self, network: Network, normalization: Normalization, image_size: int | None = None):
        super().__init__(network, normalization)
        self.image_size = image_size

    def call(self, images: Any) -> Any:
        """Return the logits of ``images``, float32 (batch, classes)."""
        shrunk = shrink(normalize(images, self.normalization), self.image_size or images.shape[1])
        return self.network.logits(shrunk, training=False)

    @property
    def single_output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one input."""
        return (self.network.spec.classes,)


class LogitsAndEmbeddings(_OfImages):
    """A model from uint8 images (batch, size, size, 3) to logits and, after them, embeddings: (batch, both)."""

    def call(self, images: Any) -> Any:
        """Return the logits and the embeddings of ``images``, float32."""
        return ops.concatenate(self.network.logits_and_embeddings(normalize(images, self.normalization)), axis=1)

    @property
    def single_output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one input."""
        return (self.network.spec.classes + embedding_size(self.network.spec),)


class Features(_OfImages):
    """A model from uint8 images (batch, size, size, 3) to features, the output of the network's base."""

    def call(self, images: Any) -> Any:
        """Return the features of ``images``."""
        return self.network.features(normalize(images, self.normalization), training=False)

    @property
    def single_output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one input."""
        return self.network.features_shape


class HeadLogits(keras.Model):
    """A model from features, the output of the base in any precision, to logits (batch, classes)."""

    def __init__(self, network: Network):
        super().__init__(name="head", autocast=False)
        self.network = network

    def call(self, features: Any) -> Any:
        """Return the logits of ``features``, float32 (batch, classes)."""
        return self.network.head_logits(ops.cast(features, "float32"), training=False)

    @property
    def single_output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one input."""
        return (self.network.spec.classes,)


def run_batches(
    model: Any, inputs: np.ndarray, batch_size: int, report: Progress | None = None, compiled: bool = True
) -> np.ndarray:
    """Return the outputs of ``model``, computed in batches.

    Args:
        model: a model of this module.
        inputs: images or features, (n, ...).
        batch_size: inputs per batch.
        report: called with the progress after every batch.
        compiled: whether TensorFlow compiles the model. Without compilation the first batch is done 0.2 s sooner, and
            the others take longer. JAX always compiles, since it would compile every single operation otherwise.
    """
    by_operation = not compiled and keras.backend.backend() == "tensorflow"
    run = model if by_operation else model.predict_on_batch
    return in_batches(run, inputs, batch_size, model.single_output_shape, report, same_shape=True)
