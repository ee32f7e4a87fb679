"""Draw the initial weights of a network, and take over those of a trained one. NumPy only."""

from collections.abc import Mapping

import numpy as np

from cifarnet.models.layers import Weight, classifier_name, named_weights
from cifarnet.models.spec import ModelSpec, describe

# Separates the draws of the initial weights from those of the epochs, whose streams are (seed, epoch).
_STREAM = 2**32 - 1


def initial_weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Return initial weights by full name, float32: He normal kernels (arXiv:1502.01852), the rest zeros or ones.

    One ``seed`` gives the same weights on every backend.
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
    """Return initial weights by full name, with the ``trained`` ones of a network that ``spec`` equals or grows from.

    Units that the trained network lacks begin with a last convolution of zeros. They pass on their input, so that the
    deeper network computes what the trained one does until it is trained: "Net2Net", Chen et al. 2016
    (arXiv:1511.05641), with the zero convolution of "Fixup", Zhang et al. 2019 (arXiv:1901.09321). Without
    ``keep_head`` the layer that depends on the number of classes is a new one.
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
