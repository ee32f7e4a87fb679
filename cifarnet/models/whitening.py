"""Compute the kernel of a convolution that whitens the patches of the training images. This module needs NumPy only.

The outputs of the convolution are the principal components of the patches, each scaled to a variance of 1, and their
negatives. Source: Jordan 2024 (arXiv:2404.00498), section 3.2, after Page 2019 ("How to train your ResNet").
"""

import numpy as np

from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization

EPSILON = 5e-4
"""Added to the variance of each component, so that components without variance don't become noise."""

IMAGES = 5_000
"""The most images whose patches are used, evenly spread over the training images. They take 1 s; all 50,000 images of
CIFAR-10 take 8 s, and give components that differ by at most 3 %."""

_CHUNK_BYTES = 32_000_000


def whitening_weights(spec: ModelSpec, images: np.ndarray, normalization: Normalization) -> dict[str, np.ndarray]:
    """Return the weights of ``spec`` that depend on the training images, by full name, float32.

    They do not depend on a seed, on the backend or on the order of arithmetic.

    Args:
        spec: the network.
        images: the training images, uint8 (n, size, size, 3).
        normalization: of the images.
    """
    return {
        name: whitening_kernel(images, normalization, weight.shape[0])
        for name, weight in named_weights(describe(spec)).items()
        if weight.initial == "whitening"
    }


def whitening_kernel(images: np.ndarray, normalization: Normalization, side: int) -> np.ndarray:
    """Return the kernel that whitens patches of ``side`` x ``side`` pixels: float32 (side, side, 3, 6 side^2).

    The components are in the order of decreasing variance. Their negatives follow.
    """
    deviations = np.tile(np.broadcast_to(normalization.std, (3,)), side * side)
    variances, components = np.linalg.eigh(_covariance(images, side) / np.outer(deviations, deviations))
    scaled = _with_signs(components)[:, ::-1] / np.sqrt(np.maximum(variances, 0)[::-1] + EPSILON)
    return np.concatenate([scaled, -scaled], axis=1).reshape(side, side, 3, -1).astype(np.float32)


def _with_signs(components: np.ndarray) -> np.ndarray:
    """Return ``components``, one in each column, with signs that do not depend on rounding errors, as those of eigh do.

    The first element that is not small becomes positive. The largest would depend on rounding errors where two are
    equally large.
    """
    sizes = np.abs(components)
    first = (sizes > 0.5 * sizes.max(axis=0)).argmax(axis=0)
    return components * np.sign(np.take_along_axis(components, first[None], axis=0))


def _covariance(images: np.ndarray, side: int) -> np.ndarray:
    """Return the covariance of the pixels of patches, float64 (3 side^2, 3 side^2), in the order of a kernel's axes.

    The sums are whole numbers below 2^53, so that they are exact in any order.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), IMAGES)).astype(int))
    height, width = images.shape[1] - side + 1, images.shape[2] - side + 1
    size = side * side * images.shape[3]
    sums, products = np.zeros(size), np.zeros((size, size))
    step = max(1, _CHUNK_BYTES // (8 * height * width * size))
    for start in range(0, len(rows), step):
        pixels = images[rows[start : start + step]].astype(np.float64)
        shifted = [pixels[:, y : y + height, x : x + width] for y in range(side) for x in range(side)]
        patches = np.concatenate(shifted, axis=-1).reshape(-1, size)
        sums += patches.sum(axis=0)
        products += patches.T @ patches
    count = len(rows) * height * width
    return products / count - np.outer(sums / count, sums / count)
