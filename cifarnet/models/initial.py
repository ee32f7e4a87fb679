"""Draw the initial weights of a network, or take them from a trained network. This module needs NumPy only."""

from collections.abc import Mapping

import numpy as np

from cifarnet.models.layers import Weight, classifier_name, named_weights
from cifarnet.models.spec import ModelSpec, describe

# Distinguishes the random stream of the initial weights from those of the epochs, which are (seed, epoch).
_STREAM = 2**32 - 1


def initial_weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Return initial weights by full name, float32.

    Each weight has the initial value of its description. A ``seed`` gives the same weights on every backend. Weights
    that depend on the training images (``cifarnet.models.whitening``) are drawn like other kernels here.
    """
    rng = np.random.default_rng([seed, _STREAM])
    return {name: _initial(weight, rng) for name, weight in named_weights(describe(spec)).items()}


def _initial(weight: Weight, rng: np.random.Generator) -> np.ndarray:
    fan_in = int(np.prod(weight.shape[:-1]))
    if weight.initial in ("he_normal", "whitening"):
        return rng.standard_normal(weight.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    if weight.initial in ("uniform", "partial_identity"):
        kernel = (2 * rng.random(weight.shape, np.float32) - 1) * np.float32(fan_in**-0.5)
        return _partial_identity(kernel) if weight.initial == "partial_identity" else kernel
    return np.full(weight.shape, weight.initial == "ones", np.float32)


def _partial_identity(kernel: np.ndarray) -> np.ndarray:
    """Return the ``kernel`` of a convolution with its first outputs replaced by one input each, in their order."""
    rows, columns, inputs, outputs = kernel.shape
    for channel in range(min(inputs, outputs)):
        kernel[..., channel] = 0
        kernel[rows // 2, columns // 2, channel, channel] = 1
    return kernel


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
