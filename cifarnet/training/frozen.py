"""Training the head alone on features of the base that are computed once.

Where nothing moves the images about, a fixed base makes the same features of an image in every epoch. They are kept as
bfloat16: 0.4 GB for 50,000 images, where float32 would take 0.8. (float16 rounds less, but TensorFlow complains of CPUs
without arithmetic in it, on stderr.)
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.progress import Progress as Report
from cifarnet.errors import WeightsError
from cifarnet.inference.engines import BATCH_SIZE
from cifarnet.models.answers import Features, HeadLogits, run_batches
from cifarnet.models.network import Network
from cifarnet.preprocessing import Normalization
from cifarnet.training.evaluator import Evaluator
from cifarnet.training.model import TrainingModel

# Steps of the head per call: an epoch of 50,000 images takes 1.3 s one by one, 0.9 s by 16, 1.1 s and more by 64
# (TensorFlow, two cores).
HEAD_STEPS = 16
_CHUNK = 20 * BATCH_SIZE  # What is held as float32 at a time: 82 MB.


def base_features(
    network: Network, images: np.ndarray, normalization: Normalization, report: Report, activity: str
) -> keras.Variable:
    """What the base makes of uint8 ``images`` (n, size, size, 3): bfloat16 (n, height, width, channels), on the device.

    Raises:
        WeightsError: when a feature is not finite.
    """
    model = Features(network, normalization)
    shape = (len(images), *network.features_shape)
    features = keras.Variable(initializer=_zeros, shape=shape, dtype="bfloat16", trainable=False, name="features")
    for start in range(0, len(images), _CHUNK):
        chunk = run_batches(model, images[start : start + _CHUNK], BATCH_SIZE)
        if not np.isfinite(chunk).all():
            raise WeightsError(
                "The fixed base gives features that are not finite: its weights are damaged or its training diverged."
                " Use other `weights`."
            )
        _fill(features, start, ops.cast(chunk, "bfloat16"))
        report(activity, start + len(chunk), len(images))
    return features


def _zeros(shape: tuple[int, ...], dtype: str) -> Any:
    # Cast, because TensorFlow complains on stderr of bfloat16 zeros where the processor has no arithmetic in it.
    return ops.cast(ops.zeros(shape, "uint8"), dtype)


def _fill(features: keras.Variable, start: int, chunk: Any) -> None:
    """Put ``chunk`` into ``features`` from the row ``start`` on.

    A variable made of a whole array would take three times the array's memory for a moment, 1.2 GB, and a slice
    update, which is all that other backends have, twice.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        features.value.scatter_update(tf.IndexedSlices(chunk, tf.range(start, start + len(chunk))))
    else:
        features.assign(ops.slice_update(features, (start, 0, 0, 0), chunk))


def _take(features: keras.Variable, rows: Any) -> Any:
    """The ``rows`` of ``features`` as float32."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # From where they lie: ops.take reads the variable first, and reading one that was filled by scatter_update
        # copies all of it, in each step.
        return ops.cast(tf.gather(features.value, rows), "float32")
    return ops.cast(ops.take(features, rows, axis=0), "float32")


class HeadTrainingModel(TrainingModel):
    """A training model of the head, with features (n, height, width, 64) in place of images."""

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        """Logits (batch, classes) of the features that ``batch`` names."""
        return self.network.head_logits(_take(self.images, batch["rows"]), training=training)


class FeatureEvaluator(Evaluator):
    """Classifies the features that ``base_features`` gave: they have but one size, and are rounded."""

    exact = False

    def __init__(self, network: Network, features: keras.Variable):
        super().__init__(network, ops.convert_to_numpy(features))

    def make_model(self, image_size: int) -> Any:
        """The head alone."""
        return HeadLogits(self.network)
