"""Precise batch normalization: mean and variance computed from training images instead of moving averages.

Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3. Moving averages lag behind
the weights. After a change of the image size, or in a short run, they are still those of an earlier network, or near
their initial zeros and ones. Good weights may then score no better than chance.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.augmentation import normalize, shrink
from cifarnet.errors import WeightsError
from cifarnet.models.memory import images_within_limit
from cifarnet.models.network import Network
from cifarnet.preprocessing import Normalization

BATCH_SIZE = 256
"""The largest batch. Large images have smaller ones, within a limit of memory. The larger the batches, the closer the
moments to those of all images."""

# Separates the random choice of images from the streams of epochs, flips and initial weights.
_STREAM = 2**32 - 3


class PreciseBatchnorm:
    """Computes the moments of batch normalization from a fixed sample of the training inputs.

    The moments do not depend on the moving averages, so a resumed run computes the same.

    Args:
        network: a float32 copy of the trained network, with the same layers frozen.
        inputs: (n, ...), the inputs of ``forward``: uint8 images or features.
        count: the number of inputs in the sample; about as many, in equal batches, or all of them if there are fewer.
        seed: the seed of the sample.
    """

    def __init__(self, network: Network, inputs: np.ndarray | keras.Variable, count: int, seed: int):
        self.network = network
        self.seed = seed
        network.set_batchnorm_momentum(0.0)  # The moving moments are then those of the last batch.
        total = int(inputs.shape[0])
        count = min(count, total)
        batches = -(-count // images_within_limit(network.spec, BATCH_SIZE))
        size = count // batches
        rows = np.random.default_rng([seed, _STREAM]).permutation(total)[: batches * size]
        sample = inputs[np.sort(rows)] if isinstance(inputs, np.ndarray) else ops.take(inputs, np.sort(rows), axis=0)
        self._batches = ops.convert_to_numpy(sample).reshape(batches, size, *inputs.shape[1:])
        self._models: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Number of training inputs in the sample."""
        return int(np.prod(self._batches.shape[:2]))

    def forward(self, inputs: Any, image_size: int) -> Any:
        """Run the network in training mode on ``inputs`` (batch, ...), shrunk to ``image_size`` pixels."""
        raise NotImplementedError

    def update(
        self,
        trained: Network,
        image_size: int,
        check: Callable[[], None] = lambda: None,
        agreed: Callable[..., Sequence[float]] = lambda *numbers: numbers,
    ) -> None:
        """Set the moments of ``trained`` to those of its current weights.

        Args:
            trained: the trained network.
            image_size: side of the images in pixels.
            check: is called before every batch. If it raises an exception, ``trained`` is unchanged.
            agreed: returns the numbers that all processes of a run use, for those of this one.

        Raises:
            WeightsError: when a moment is NaN or infinite.
        """
        layers = [layer for layer in trained.batch_norms if layer.trainable]
        if not layers:
            return
        self.network.set_tensors(trained.get_tensors())
        self.network.seed_draws(self.seed, 0, 0)
        means, squares = [], []
        for batch in self._batches:
            check()
            mean, variance = self._moments(batch, image_size)
            means.append(mean)
            squares.append(variance + mean**2)
        with np.errstate(over="ignore", invalid="ignore"):  # The moments of a training that diverges are checked below.
            mean = np.mean(means, axis=0)
            variance = np.mean(squares, axis=0) - mean**2
        mean, variance = np.array(agreed(*mean)), np.array(agreed(*variance))
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise WeightsError("Moments of batch normalization are NaN or infinite.")
        start = 0
        for layer in layers:
            end = start + layer.moving_mean.shape[0]
            layer.moving_mean.assign(mean[start:end].astype(np.float32))
            layer.moving_variance.assign(variance[start:end].astype(np.float32))
            start = end

    def _moments(self, batch: np.ndarray, image_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of all trainable layers on one batch: float64 (channels of all layers,)."""
        if image_size not in self._models:
            self._models[image_size] = _Moments(self, image_size)
        mean, variance = np.asarray(self._models[image_size].predict_on_batch(batch), np.float64)
        return mean, variance


class PreciseImages(PreciseBatchnorm):
    """Computes moments from uint8 images (n, size, size, 3), without augmentation."""

    def __init__(self, network: Network, images: np.ndarray, normalization: Normalization, count: int, seed: int):
        super().__init__(network, images, count, seed)
        self.normalization = normalization

    def forward(self, inputs: Any, image_size: int) -> Any:
        """Run the whole network on images."""
        return self.network.logits(shrink(normalize(inputs, self.normalization), image_size), training=True)


class PreciseFeatures(PreciseBatchnorm):
    """Computes moments from the features (n, height, width, channels) of a frozen base."""

    def forward(self, inputs: Any, image_size: int) -> Any:
        """Run the head alone on features."""
        return self.network.head_logits(ops.cast(inputs, "float32"), training=True)


class _Moments(keras.Model):
    """Returns the moments of a batch: float32 (2, channels of all trainable layers)."""

    def __init__(self, precise: PreciseBatchnorm, image_size: int):
        super().__init__(name="moments", autocast=False)
        self.network = precise.network
        self._forward = precise.forward
        self.image_size = image_size

    def call(self, inputs: Any) -> Any:
        self._forward(inputs, self.image_size)
        layers = [layer for layer in self.network.batch_norms if layer.trainable]
        return ops.stack(
            [
                ops.concatenate([ops.convert_to_tensor(layer.moving_mean) for layer in layers]),
                ops.concatenate([ops.convert_to_tensor(layer.moving_variance) for layer in layers]),
            ]
        )
