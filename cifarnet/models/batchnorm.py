"""Batch normalization as one fused operation on TensorFlow.

Keras normalizes with a dozen elementwise operations, each of which reads and writes the whole feature map. XLA fuses
them. TensorFlow on a CPU runs them one by one, which took a third of a training step of ResNet-20
(benchmarks/README.md, section Profile). TensorFlow's fused operation needs two passes over the feature map.
"""

from typing import Any

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization, over the last axis of (batch, height, width, channels) or (batch, channels).

    Variables and results are Keras's, up to rounding (Ioffe and Szegedy 2015, arXiv:1502.03167). The moving variance
    averages the biased variance of the batches, without Bessel's correction.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize ``inputs`` by the moving moments or, in training, by those of the batch.

        Training also updates the moving moments.
        """
        # Keras exchanges the moments between replicas.
        if keras.backend.backend() != "tensorflow" or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        if training and self.trainable:
            return self._normalize_by_batch(inputs)
        return _fused(self, inputs, self.moving_mean, self.moving_variance, is_training=False)[0]

    def _normalize_by_batch(self, inputs: Any) -> Any:
        import tensorflow as tf

        outputs, mean, variance, *_ = _fused(self, inputs, (), (), is_training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        # The operation returns the unbiased variance, and Keras averages the biased one.
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(moving.value * self.momentum + value * (1 - self.momentum))
        return outputs


def _fused(layer: BatchNormalization, inputs: Any, mean: Any, variance: Any, *, is_training: bool) -> Any:
    import tensorflow as tf

    scale = tf.ones_like(layer.beta) if layer.gamma is None else layer.gamma
    # The operation takes feature maps only: vectors become maps of one position.
    outputs, *moments = tf.raw_ops.FusedBatchNormV3(
        x=inputs if len(inputs.shape) == 4 else inputs[:, None, None],
        scale=scale,
        offset=layer.beta,
        mean=tf.convert_to_tensor(mean, tf.float32),
        variance=tf.convert_to_tensor(variance, tf.float32),
        epsilon=layer.epsilon,
        is_training=is_training,
    )
    return (outputs if len(inputs.shape) == 4 else outputs[:, 0, 0]), *moments
