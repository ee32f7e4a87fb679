"""The GELU of the training step is Keras's, up to rounding."""

import keras
import numpy as np
import pytest

from cifarnet.models.gelu import Gelu, _fused, gelu

X = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 40.0, -40.0]]).astype(np.float32)


def test_values_are_those_of_keras():
    expected = keras.ops.convert_to_numpy(keras.ops.gelu(X, approximate=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gelu(keras.ops.convert_to_tensor(X))), expected, atol=2e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX differentiates Keras's own")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_those_of_exact_arithmetic(dtype):
    import tensorflow as tf

    x = tf.cast(X, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gelu(x)
    wide = tf.cast(x, tf.float64)
    with tf.GradientTape() as exact_tape:
        exact_tape.watch(wide)
        exact = 0.5 * wide * tf.math.erfc(-wide / np.sqrt(2.0))
    unit = {"float32": 4e-7, "bfloat16": 2**-8, "float16": 2**-11}[dtype]
    for found, expected in ((y, exact), (tape.gradient(y, x), exact_tape.gradient(exact, wide))):
        assert found.dtype == x.dtype
        np.testing.assert_allclose(tf.cast(found, tf.float64), expected, rtol=unit, atol=2 * unit)


def test_layer_keeps_shapes_of_unknown_batches():
    inputs = keras.Input((4, 4, 3))
    assert Gelu()(inputs).shape == (None, 4, 4, 3)
    model = keras.Model(inputs, Gelu()(inputs))
    for count in (1, 3):
        assert model(np.ones((count, 4, 4, 3), np.float32)).shape == (count, 4, 4, 3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiled with TensorFlow")
def test_the_compiled_function_is_used_within_other_graphs(caplog):
    import tensorflow as tf

    assert _fused(tf.float32) is not None
    expected = keras.ops.convert_to_numpy(gelu(tf.constant(X)))
    for jit in (False, True):
        # TensorFlow logs what it can't convert to a graph.
        traced = tf.function(gelu, jit_compile=jit)(tf.constant(X))
        np.testing.assert_allclose(traced, expected, atol=1e-6)
    assert not caplog.records
