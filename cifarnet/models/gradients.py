"""Differentiate a network's head by the features, with the gradients of the backend that Keras runs on."""

from typing import Any

import keras
from keras import ops

from cifarnet.models.network import Network


def feature_gradients(network: Network, features: Any, labels: Any) -> Any:
    """Return the gradients of logits by the ``features`` (batch, ...) that the base gives, in their shape, float32.

    The logits are those of ``labels``, int (batch,), with the head in inference mode.
    """
    gradients = {"tensorflow": _by_tensorflow, "jax": _by_jax}[keras.backend.backend()]
    return gradients(network, ops.cast(features, "float32"), labels)


def _chosen(network: Network, features: Any, labels: Any) -> Any:
    logits = network.head_logits(features, training=False)
    return ops.sum(logits * ops.one_hot(labels, logits.shape[-1]))


def _by_tensorflow(network: Network, features: Any, labels: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(features)
        chosen = _chosen(network, features, labels)
    return tape.gradient(chosen, features)


def _by_jax(network: Network, features: Any, labels: Any) -> Any:
    import jax

    return jax.grad(lambda x: _chosen(network, x, labels))(features)
