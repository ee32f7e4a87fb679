"""Compute gradients of logits with respect to features, on TensorFlow or JAX."""

from typing import Any

import keras
from keras import ops

from cifarnet.models.network import Network


def feature_gradients(network: Network, features: Any, labels: Any) -> Any:
    """Return the gradient of one logit per image with respect to the features, float32 in their shape.

    The head is in inference mode.

    Args:
        network: the network.
        features: the output of its base, (batch, ...).
        labels: the class of the logit for each image, int (batch,).
    """
    gradients = {"tensorflow": _by_tensorflow, "jax": _by_jax}[keras.backend.backend()]
    return gradients(network, ops.cast(features, "float32"), labels)


def _sum_of_logits(network: Network, features: Any, labels: Any) -> Any:
    logits = network.head_logits(features, training=False)
    return ops.sum(logits * ops.one_hot(labels, logits.shape[-1]))


def _by_tensorflow(network: Network, features: Any, labels: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(features)
        total = _sum_of_logits(network, features, labels)
    return tape.gradient(total, features)


def _by_jax(network: Network, features: Any, labels: Any) -> Any:
    import jax

    return jax.grad(lambda x: _sum_of_logits(network, x, labels))(features)
