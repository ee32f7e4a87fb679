"""The Keras model that ``fit`` trains: row numbers and draws in, logits out, everything between on the device."""

from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.augmentation import DRAWS, augment
from cifarnet.models.network import ResNet
from cifarnet.models.spec import Normalization
from cifarnet.recipes import Recipe
from cifarnet.training.schedule import keras_schedule


class Trainee(keras.Model):
    """A network with the training images beside it, uploaded to the device once, as uint8.

    A batch is ``{"rows": int32 (batch,), "draws": float32 (batch, DRAWS)}``; its images are gathered, normalized and
    augmented on the device. The loss is cross-entropy plus the recipe's L2 penalty; the metrics ``loss`` (the
    cross-entropy alone, comparable with a test set's) and ``accuracy`` are means over the epoch so far.
    """

    def __init__(self, network: ResNet, images: np.ndarray, normalization: Normalization, recipe: Recipe):
        super().__init__(name="trainee")
        self.network = network
        self.images = keras.Variable(images, dtype="uint8", trainable=False, name="images")
        self.normalization = normalization
        self.recipe = recipe
        self.steps_per_epoch = -(-len(images) // recipe.batch_size)
        self.cross_entropy = keras.metrics.Mean(name="cross_entropy")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.built = True
        optimizer = keras.optimizers.SGD(
            keras_schedule(recipe, self.steps_per_epoch), momentum=recipe.momentum, nesterov=recipe.nesterov
        )
        self.compile(optimizer)
        # Built now rather than in the first step, because resuming assigns the state before any step.
        optimizer.build(self.trainable_variables)

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        """Logits (batch, classes) of the training images that ``batch`` names."""
        pixels = ops.cast(ops.take(self.images, batch["rows"], axis=0), "float32")
        images = (pixels - self.normalization.mean) / self.normalization.std
        return self.network.logits(augment(images, batch["draws"], self.recipe), training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy of the logits ``y_pred`` plus the L2 penalty: a scalar."""
        losses = keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
        self.cross_entropy.update_state(losses)
        penalty = sum(ops.sum(ops.square(kernel)) for kernel in self.network.kernels())
        return ops.mean(losses) + self.recipe.l2 * penalty

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the accuracy and return all metrics."""
        self.accuracy.update_state(y, y_pred)
        return self.get_metrics_result()


def epoch_order(seed: int, epoch: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """An epoch's rows, int32 (images,), in random order, and draws, float32 (images, DRAWS).

    A function of (seed, epoch) alone, so that a resumed run sees what an uninterrupted one sees.
    """
    rng = np.random.default_rng([seed, epoch])
    return rng.permutation(images).astype(np.int32), rng.random((images, DRAWS), np.float32)
