"""Train only the head, on features of the frozen base that are computed once.

Without augmentation, a frozen base returns the same features of an image in every epoch. They are stored as bfloat16:
0.4 GB for 50,000 images instead of 0.8 GB as float32. float16 would be more precise, but TensorFlow warns on stderr on
CPUs without float16 arithmetic.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.arrays import empty, is_large
from cifarnet.data.progress import Progress
from cifarnet.errors import WeightsError
from cifarnet.inference.engines import default_batch_size
from cifarnet.models.answers import Features, HeadLogits, run_batches
from cifarnet.models.network import Network
from cifarnet.preprocessing import Normalization
from cifarnet.training.evaluator import Evaluator
from cifarnet.training.model import HostArray, TrainingModel

# Steps of the head per call. An epoch of 50,000 images takes 1.3 s with 1 step, 0.9 s with 16, 1.1 s or more with 64
# (TensorFlow, two cores).
HEAD_STEPS = 16
_CHUNK_BYTES = 84_000_000  # Of float32 features at a time.
_BYTES = 2  # Of a bfloat16 number.


def base_features(
    network: Network, images: np.ndarray, normalization: Normalization, report: Progress, activity: str
) -> keras.Variable | HostArray:
    """Return the base's features of ``images``: bfloat16 (n, height, width, channels), on the device.

    Features that are too large for the device are a ``HostArray``: 50,000 images of 96 pixels take 3.7 GB.

    Args:
        network: the network with the frozen base.
        images: uint8 (n, size, size, 3).
        normalization: of the images.
        report: receives the progress.
        activity: the text for the progress.

    Raises:
        WeightsError: when a feature is NaN or infinite.
    """
    model = Features(network, normalization)
    shape = (len(images), *network.features_shape)
    features = _make(shape)
    batch_size = default_batch_size(network.spec)
    count = batch_size * max(1, _CHUNK_BYTES // (4 * batch_size * math.prod(network.features_shape)))
    for start in range(0, len(images), count):
        chunk = run_batches(model, images[start : start + count], batch_size)
        if not np.isfinite(chunk).all():
            raise WeightsError(
                "The frozen base returns non-finite features: its weights are damaged or its training diverged."
                " Use other `weights`."
            )
        _fill(features, start, ops.cast(chunk, "bfloat16"))
        report(activity, start + len(chunk), len(images))
    return features


def _make(shape: tuple[int, ...]) -> keras.Variable | HostArray:
    """Return bfloat16 features to be filled, on the device, or on the host if they are large."""
    if is_large(shape, _BYTES):
        return HostArray(empty(shape, ops.convert_to_numpy(_zeros((1,), "bfloat16")).dtype))
    return keras.Variable(initializer=_zeros, shape=shape, dtype="bfloat16", trainable=False, name="features")


def _zeros(shape: tuple[int, ...], dtype: str) -> Any:
    # Cast, because TensorFlow warns on stderr when it makes bfloat16 zeros on processors without bfloat16 arithmetic.
    return ops.cast(ops.zeros(shape, "uint8"), dtype)


def _fill(features: keras.Variable | HostArray, start: int, chunk: Any) -> None:
    """Assign ``chunk`` to the rows of ``features`` from ``start`` on.

    Making the variable from one array would take three times the memory of the array for a moment, 1.2 GB. A slice
    update, the only way with other backends, takes twice the memory.
    """
    if isinstance(features, HostArray):
        features.array[start : start + len(chunk)] = ops.convert_to_numpy(chunk)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        features.value.scatter_update(tf.IndexedSlices(chunk, tf.range(start, start + len(chunk))))
    else:
        # JAX 0.10 takes no variables where it takes arrays.
        features.assign(ops.slice_update(ops.convert_to_tensor(features), (start, 0, 0, 0), chunk))


def _take(features: keras.Variable, rows: Any) -> Any:
    """Return the ``rows`` of ``features`` as float32."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # ops.take reads the variable first, and reading one that was filled by scatter_update copies all of it in each
        # step.
        return ops.cast(tf.gather(features.value, rows), "float32")
    return ops.cast(ops.take(features, rows, axis=0), "float32")


class HeadTrainingModel(TrainingModel):
    """A training model of the head, with features (n, height, width, channels) instead of images."""

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        """Return logits (batch, classes) of the features of ``batch``."""
        features = ops.cast(batch["inputs"], "float32") if "inputs" in batch else _take(self.images, batch["rows"])
        return self.network.head_logits(features, training=training)


class FeatureEvaluator(Evaluator):
    """Classifies features from ``base_features``, which have only one size and are rounded."""

    exact = False

    def __init__(self, network: Network, features: keras.Variable | HostArray):
        on_host = isinstance(features, HostArray)
        super().__init__(network, features.array if on_host else ops.convert_to_numpy(features))

    def make_model(self, image_size: int) -> Any:
        """Return the head."""
        return HeadLogits(self.network)
