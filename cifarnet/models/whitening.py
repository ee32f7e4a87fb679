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
"""The most images whose patches are used, evenly spread over the training images. CIFAR-10 as JPEG: 0.6 s; with all
50,000 images the kernel differs by less than 2 %."""

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
    # eigh decides the signs by rounding errors.
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    scaled = components * np.sign(largest) / np.sqrt(np.maximum(variances, 0) + EPSILON)
    scaled = scaled[:, ::-1]
    return np.concatenate([scaled, -scaled], axis=1).reshape(side, side, 3, -1).astype(np.float32)


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
