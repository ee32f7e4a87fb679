"""Draw the initial weights of a network, or take them from a trained network. This module needs NumPy only."""

from collections.abc import Mapping

import numpy as np

from cifarnet.models.layers import Weight, classifier_name, named_weights
from cifarnet.models.spec import ModelSpec, describe

# Distinguishes the random stream of the initial weights from those of the epochs, which are (seed, epoch).
_STREAM = 2**32 - 1


def initial_weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Return initial weights by full name, float32.

    Kernels are He normal (He et al. 2015, arXiv:1502.01852), other weights zeros or ones. A ``seed`` gives the same
    weights on every backend.
    """
    rng = np.random.default_rng([seed, _STREAM])
    return {name: _initial(weight, rng) for name, weight in named_weights(describe(spec)).items()}


def _initial(weight: Weight, rng: np.random.Generator) -> np.ndarray:
    if weight.initial == "he_normal":
        fan_in = int(np.prod(weight.shape[:-1]))
        return rng.standard_normal(weight.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    return np.full(weight.shape, weight.initial == "ones", np.float32)


def adopted_weights(
    spec: ModelSpec, seed: int, trained: Mapping[str, np.ndarray], *, keep_head: bool
) -> dict[str, np.ndarray]:
    """Return the weights with which a network starts that continues a trained one, by full name, float32.

    The network is the trained one, or a deeper one that grows from it. In the units that the trained network lacks,
    the last convolution is zero, so that they are identities and both networks give the same logits at first. Sources:
    "Net2Net", Chen et al. 2016 (arXiv:1511.05641), for growth; "Fixup", Zhang et al. 2019 (arXiv:1901.09321), for the
    zero convolution.

    Args:
        spec: the network.
        seed: seed of the weights that are not taken from the trained network.
        trained: the trained weights by full name.
        keep_head: whether to keep the layer whose shape depends on the number of classes. Otherwise it is initialized.
    """
    layers = describe(spec)
    classifier = f"{classifier_name(layers)}/"
    arrays = initial_weights(spec, seed)
    for name, weight in named_weights(layers).items():
        if name in trained and (keep_head or not name.startswith(classifier)):
            arrays[name] = trained[name]
        elif weight.zero_when_added:
            arrays[name] = np.zeros_like(arrays[name])
    return arrays
