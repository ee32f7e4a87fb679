"""Batch normalization in one operation, where the backend has one.

Keras normalizes with a dozen elementwise operations, each of which reads and writes the whole feature map. A compiler
such as XLA fuses them; TensorFlow on a CPU runs them one by one, where they took a third of a training step of
ResNet-20 (benchmarks/README.md, section Profile). TensorFlow's own fused operation does the same in two passes.
"""

from typing import Any

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, over the last axis of (batch, height, width, channels) feature maps.

    Same variables, same arithmetic (Ioffe and Szegedy 2015, arXiv:1502.03167; the moving variance is that of the
    batch itself, without Bessel's correction), to rounding.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize ``inputs``; in training by the batch's own moments, which the moving ones follow."""
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        if training and self.trainable:
            return self._normalize_by_batch(inputs)
        return _fused(self, inputs, self.moving_mean, self.moving_variance, is_training=False)[0]

    def _normalize_by_batch(self, inputs: Any) -> Any:
        import tensorflow as tf

        outputs, mean, variance, *_ = _fused(self, inputs, (), (), is_training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        # The operation gives the unbiased variance; Keras's moving one is the biased.
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(moving.value * self.momentum + value * (1 - self.momentum))
        return outputs


def _fused(layer: BatchNormalization, inputs: Any, mean: Any, variance: Any, *, is_training: bool) -> Any:
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma,
        offset=layer.beta,
        mean=tf.convert_to_tensor(mean, tf.float32),
        variance=tf.convert_to_tensor(variance, tf.float32),
        epsilon=layer.epsilon,
        is_training=is_training,
    )
