"""A network with a head as training leaves it, and the gradients of its head."""

import numpy as np

from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec


def trained_like_network():
    """A small network whose last batch normalization has parameters and moments as training leaves them."""
    spec = ModelSpec("resnet8", 3, 16)
    tensors = initial_weights(spec, seed=3)
    rng = np.random.default_rng(5)
    for name, (low, high) in {
        "gamma": (-1.5, 1.5),
        "beta": (-0.5, 0.5),
        "moving_mean": (-0.5, 0.5),
        "moving_variance": (0.3, 3),
    }.items():
        tensors[f"batch_normalization/{name}"] = rng.uniform(low, high, 64).astype(np.float32)
    return build_model(spec, tensors)


def features_and_labels():
    rng = np.random.default_rng(6)
    return rng.normal(size=(6, 4, 4, 64)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2], np.int32)


def gradients_by_hand(network, features, labels):
    """The gradients of a ResNet's head: batch normalization, ReLU, the mean of all positions and a 1x1 convolution."""
    gamma, beta, mean, variance = (
        np.asarray(network.tensors()[f"batch_normalization/{name}"])
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    slope = gamma / np.sqrt(variance + 1e-3)
    opened = (features - mean) * slope + beta > 0
    kernel = np.asarray(network.tensors()["conv2d_1/kernel"])[0, 0].T[labels]
    return opened * (kernel * slope)[:, None, None] / (features.shape[1] * features.shape[2])


def check_gradients():
    """Compare the backend's gradients with those by hand."""
    from cifarnet.models.gradients import feature_gradients

    network = trained_like_network()
    features, labels = features_and_labels()
    found = np.asarray(feature_gradients(network, features, labels))
    np.testing.assert_allclose(found, gradients_by_hand(network, features, labels), rtol=1e-4, atol=1e-6)
