"""Gradients by JAX that several tests use."""

import numpy as np

from cifarnet.models.network import build_model, initial_weights
from cifarnet.models.spec import ModelSpec


def trained_like_network():
    """A small network whose last batch normalization has parameters and moments as training leaves them."""
    spec = ModelSpec(8, 3, 16)
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


def by_gradients(features, gradients):
    importance = gradients.mean(axis=(1, 2), keepdims=True)
    return np.maximum((importance * features).sum(axis=-1), 0)
