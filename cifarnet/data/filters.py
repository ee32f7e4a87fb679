"""Linear filters of images as matrices that act on the rows and columns of pixels.

A separable filter of many images is two matrix products, which is faster than a loop over images.
"""

import math

import numpy as np


def mirrored(indices: np.ndarray, size: int) -> np.ndarray:
    """Return pixel ``indices``, integers of any shape, mirrored at the edge pixels into 0 to ``size`` - 1."""
    period = max(1, 2 * (size - 1))
    inside = indices % period
    return np.minimum(inside, period - inside)


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Return the Gaussian blur of ``size`` pixels, float32 (size, size), with a deviation of ``sigma`` pixels.

    The edge is mirrored, and the kernel ends at four standard deviations. It is the identity for a ``sigma`` of 0.
    """
    radius = math.ceil(4 * sigma)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma else np.ones(1)
    matrix = np.zeros((size, size))
    rows = np.arange(size)[:, None]
    np.add.at(matrix, (np.broadcast_to(rows, (size, len(offsets))), mirrored(rows + offsets, size)), kernel)
    return (matrix / kernel.sum()).astype(np.float32)


def box_matrix(size: int, target: int) -> np.ndarray:
    """Return the resizing of ``size`` to ``target`` pixels by mean over the area, float32 (target, size)."""
    edges = np.arange(target + 1)[:, None] * size / target
    pixels = np.arange(size)
    shares = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.maximum(shares, 0) * target / size).astype(np.float32)


def filtered(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``images``, float (n, size, size, channels), with ``matrix`` (target, size) along rows and columns."""
    planes = matrix @ np.ascontiguousarray(images.transpose(0, 3, 1, 2)) @ matrix.T
    return planes.transpose(0, 2, 3, 1)
