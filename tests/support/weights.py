"""Weight files that several tests use."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from cifarnet.models.embeddings import EmbeddingStatistics
from cifarnet.models.initial import initial_weights
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights


def make(path, depth=8, half=False, accuracy=0.5):
    spec = ModelSpec(f"resnet{depth}", 3)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(weight.shape).astype(np.float32)
        for name, weight in named_weights(describe(spec)).items()
    }
    weights = Weights(spec, tensors, ("a", "b", "c"), Normalization(1.5, 2.5), {"name": "paper"}, accuracy)
    save_weights(path, weights, half=half)
    return path


def save_original(path: Path, spec: ModelSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    tensors = {}
    with h5py.File(path, "w") as file:
        for name, weight in named_weights(describe(spec)).items():
            tensors[name] = rng.standard_normal(weight.shape).astype(np.float32)
            file[f"{name.split('/')[0]}/{name}:0"] = tensors[name]
        file.create_group("activation")
    return tensors


def random_weights(spec):
    """Return weights of ``spec`` with moving averages and offsets that matter."""
    rng = np.random.default_rng(3)
    tensors = initial_weights(spec, 1)
    for name in named_weights(describe(spec)):
        kind = name.rpartition("/")[2]
        if kind != "kernel":
            low = 0.5 if kind in ("gamma", "moving_variance") else -0.5
            tensors[name] = rng.uniform(low, low + 1, tensors[name].shape).astype(np.float32)
    return Weights(spec, tensors, tuple(f"c{k}" for k in range(spec.classes)), Normalization(110.0, 60.0))


def with_random_statistics(weights, reject_beyond=3.0):
    """Return ``weights`` with embedding statistics, by which some images are nearer than others."""
    rng = np.random.default_rng(4)
    arrays = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in EmbeddingStatistics.shapes(weights.spec).items()
    }
    return replace(weights, statistics=EmbeddingStatistics(**arrays), reject_beyond=reject_beyond)
