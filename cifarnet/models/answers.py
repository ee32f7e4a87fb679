"""Keras models that answer for uint8 images: logits, features of the base, and the head alone.

Normalization happens inside, on the device: four times fewer bytes travel than with float32 images. Importing this
module imports Keras and its backend, which takes seconds: import it inside functions.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.augmentation import normalize, shrink
from cifarnet.data.progress import Progress
from cifarnet.models.network import Network
from cifarnet.models.spec import Normalization


class Logits(keras.Model):
    """From uint8 images (batch, size, size, 3) to the network's logits (batch, classes).

    With ``image_size`` the network sees the images shrunk to it, as training with progressive resizing shows them.
    """

    def __init__(self, network: Network, normalization: Normalization, image_size: int | None = None):
        super().__init__(name="logits")
        self.network = network
        self.normalization = normalization
        self.image_size = image_size

    def call(self, images: Any) -> Any:
        """Return logits of ``images``."""
        shrunk = shrink(normalize(images, self.normalization), self.image_size or images.shape[1])
        return self.network.logits(shrunk, training=False)


class Features(keras.Model):
    """From uint8 images (batch, size, size, 3) to the output of the network's base."""

    def __init__(self, network: Network, normalization: Normalization):
        super().__init__(name="base")
        self.network = network
        self.normalization = normalization

    def call(self, images: Any) -> Any:
        """Return the features of ``images``."""
        return self.network.features(normalize(images, self.normalization), training=False)


class HeadLogits(keras.Model):
    """From features of the base, in any precision, to logits (batch, classes)."""

    def __init__(self, network: Network):
        super().__init__(name="head", autocast=False)
        self.network = network

    def call(self, features: Any) -> Any:
        """Return logits of ``features``."""
        return self.network.head_logits(ops.cast(features, "float32"), training=False)


def run_batches(
    model: Any, inputs: np.ndarray, batch_size: int, report: Progress | None = None, compiled: bool = True
) -> np.ndarray:
    """Return the outputs of ``model``, one of this module's, for ``inputs``, computed in batches.

    Without ``compiled``, TensorFlow runs operation by operation, which answers the first batch 0.2 s sooner and the
    others later. JAX compiles in any case, since it would compile every operation on its own otherwise.

    The last batch is filled up with zeros when full ones came before it: another shape would be another compilation,
    which takes longer than the wasted arithmetic.
    """
    by_operation = not compiled and keras.backend.backend() == "tensorflow"
    answer = model if by_operation else model.predict_on_batch
    outputs = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        count = len(batch)
        if start and count < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - count, *batch.shape[1:]), batch.dtype)])
        outputs.append(np.asarray(answer(batch))[:count])
        if report:
            report("Classifying images", start + count, len(inputs))
    return np.concatenate(outputs) if outputs else np.zeros((0, model.network.spec.classes), np.float32)
