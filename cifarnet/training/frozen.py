"""Train only the head, on features of the frozen base that are computed once.

Without augmentation, a frozen base returns the same features of an image in every epoch. They are stored as bfloat16:
0.4 GB for 50,000 images instead of 0.8 GB as float32. float16 would be more precise, but TensorFlow warns on stderr on
CPUs without float16 arithmetic.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.progress import Progress
from cifarnet.errors import WeightsError
from cifarnet.inference.engines import BATCH_SIZE
from cifarnet.models.answers import Features, HeadLogits, run_batches
from cifarnet.models.network import Network
from cifarnet.preprocessing import Normalization
from cifarnet.training.evaluator import Evaluator
from cifarnet.training.model import TrainingModel

# Steps of the head per call. An epoch of 50,000 images takes 1.3 s with 1 step, 0.9 s with 16, 1.1 s or more with 64
# (TensorFlow, two cores).
HEAD_STEPS = 16
_CHUNK = 20 * BATCH_SIZE  # 82 MB of float32 features at a time.


def base_features(
    network: Network, images: np.ndarray, normalization: Normalization, report: Progress, activity: str
) -> keras.Variable:
    """Return the base's features of ``images``: bfloat16 (n, height, width, channels), on the device.

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
    features = keras.Variable(initializer=_zeros, shape=shape, dtype="bfloat16", trainable=False, name="features")
    for start in range(0, len(images), _CHUNK):
        chunk = run_batches(model, images[start : start + _CHUNK], BATCH_SIZE)
        if not np.isfinite(chunk).all():
            raise WeightsError(
                "The frozen base returns non-finite features: its weights are damaged or its training diverged."
                " Use other `weights`."
            )
        _fill(features, start, ops.cast(chunk, "bfloat16"))
        report(activity, start + len(chunk), len(images))
    return features


def _zeros(shape: tuple[int, ...], dtype: str) -> Any:
    # Cast, because TensorFlow warns on stderr when it makes bfloat16 zeros on processors without bfloat16 arithmetic.
    return ops.cast(ops.zeros(shape, "uint8"), dtype)


def _fill(features: keras.Variable, start: int, chunk: Any) -> None:
    """Assign ``chunk`` to the rows of ``features`` from ``start`` on.

    Making the variable from one array would take three times the memory of the array for a moment, 1.2 GB. A slice
    update, the only way with other backends, takes twice the memory.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        features.value.scatter_update(tf.IndexedSlices(chunk, tf.range(start, start + len(chunk))))
    else:
        features.assign(ops.slice_update(features, (start, 0, 0, 0), chunk))


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
        return self.network.head_logits(_take(self.images, batch["rows"]), training=training)


class FeatureEvaluator(Evaluator):
    """Classifies features from ``base_features``, which have only one size and are rounded."""

    exact = False

    def __init__(self, network: Network, features: keras.Variable):
        super().__init__(network, ops.convert_to_numpy(features))

    def make_model(self, image_size: int) -> Any:
        """Return the head."""
        return HeadLogits(self.network)
