"""The Gaussian error linear unit (GELU) as one pass over the feature map on TensorFlow.

TensorFlow computes it, and its gradient, with a dozen elementwise operations, each of which reads and writes the whole
feature map. On a CPU they took half of a training step of airbench94 in bfloat16 (benchmarks/README.md, section
Profile). Compiled by XLA, they are one loop each, 7 to 13 times as fast.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class Gelu(keras.layers.Layer):
    """x times the cumulative distribution function of the normal distribution at x (Hendrycks and Gimpel 2016).

    Source: arXiv:1606.08415, without its approximations. Results are Keras's, up to rounding: bfloat16 and float16
    feature maps are computed in float32 and rounded once.
    """

    def call(self, inputs: Any) -> Any:
        """Apply the function to feature maps ``inputs`` of any shape."""
        return gelu(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``input_shape``."""
        return input_shape


def gelu(x: Any) -> Any:
    """Return the GELU of a tensor of any shape."""
    # TensorFlow's AutoGraph can't convert an assignment expression, and warns of it.
    fused = _fused(x.dtype) if keras.backend.backend() == "tensorflow" else None
    if fused is None:
        return ops.gelu(x, approximate=False)
    y = fused(x)
    y.set_shape(x.shape)
    return y


@functools.cache
def _fused(dtype: Any) -> Callable[[Any], Any] | None:
    """Return the compiled GELU of tensors of TensorFlow; None where TensorFlow was built without XLA."""
    import tensorflow as tf

    def compiled(function: Callable[..., Any], inputs: int) -> Callable[..., Any]:
        # A signature of any shape: one trace for all layers. XLA compiles it for each shape that occurs.
        return tf.function(function, input_signature=[tf.TensorSpec(None, dtype)] * inputs, jit_compile=True)

    @functools.partial(compiled, inputs=1)
    def forward(x: Any) -> Any:
        wide = tf.cast(x, tf.float32)
        return tf.cast(wide * _cumulative(wide), dtype)

    @functools.partial(compiled, inputs=2)
    def backward(x: Any, dy: Any) -> Any:
        wide = tf.cast(x, tf.float32)
        density = tf.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
        return tf.cast(tf.cast(dy, tf.float32) * (_cumulative(wide) + wide * density), dtype)

    def _cumulative(x: Any) -> Any:
        return 0.5 * tf.math.erfc(-x / math.sqrt(2))

    def fused(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        return forward(x), functools.partial(backward, x)

    try:
        with tf.init_scope():
            forward(tf.zeros(1, dtype))
    except tf.errors.OpError:
        return None
    with_gradient: Callable[[Any], Any] = tf.custom_gradient(fused)
    return with_gradient
