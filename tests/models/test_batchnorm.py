import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarnet.models.batchnorm import BatchNormalization
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec

SHAPES = [(16, 8, 8, 16), (2, 2, 2, 8)]


def both(shape, dtype):
    """Keras's layer and ours, with the same weights, and an input."""
    rng = np.random.default_rng(0)
    gamma, beta = rng.normal(size=(2, shape[-1]))
    layers = [kind(dtype=dtype) for kind in (keras.layers.BatchNormalization, BatchNormalization)]
    for layer in layers:
        layer.build(shape)
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    return layers, tf.constant(rng.normal(2, 3, shape), tf.float32)


def training_step(layer, images):
    """Output, gradients and moving moments of one step in training."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 3)
    gradients = tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])
    return [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value]


@pytest.mark.parametrize("shape", SHAPES)
def test_training_is_kerass_to_rounding(shape):
    (keras_layer, layer), images = both(shape, "float32")
    for wanted, found in zip(training_step(keras_layer, images), training_step(layer, images), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_moving_variance_is_the_biased_one(shape):
    (_, layer), images = both(shape, "float32")
    layer(images, training=True)
    wanted = 0.99 * 1 + 0.01 * np.var(images, axis=(0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance.numpy(), wanted, rtol=1e-6)


def test_inference_uses_the_moving_moments_and_leaves_them():
    (keras_layer, layer), images = both(SHAPES[0], "float32")
    for each in (keras_layer, layer):
        each.moving_mean.assign(np.linspace(1, 3, 16))
        each.moving_variance.assign(np.linspace(4, 9, 16))
    np.testing.assert_allclose(layer(images), keras_layer(images), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, keras_layer.moving_mean)


def test_a_frozen_layer_uses_the_moving_moments_in_training_too():
    (_, layer), images = both(SHAPES[0], "float32")
    layer.trainable = False
    np.testing.assert_array_equal(layer(images, training=True), layer(images, training=False))


def test_in_bfloat16_the_moments_stay_float32():
    (keras_layer, layer), images = both(SHAPES[0], "mixed_bfloat16")
    wanted, found = (training_step(each, images) for each in (keras_layer, layer))
    assert found[0].dtype == tf.bfloat16
    for index in (4, 5):  # the moving moments
        assert found[index].dtype == tf.float32
        np.testing.assert_allclose(found[index], wanted[index], rtol=1e-5)


def test_a_recipes_momentum_reaches_every_layer_of_a_network():
    """At momentum 0 the moving moments are those of the last batch alone: the same network, in training or not."""
    spec = ModelSpec("resnet8")
    network = build_model(spec, initial_weights(spec, seed=0))
    network.set_batchnorm_momentum(0.0)
    images = tf.constant(np.random.default_rng(0).normal(size=(16, 32, 32, 3)), tf.float32)
    trained = network.logits(images, training=True)
    np.testing.assert_allclose(network.logits(images, training=False), trained, atol=1e-3)
