"""Mix training images with one another, on the device: mixup (Zhang et al. 2018, arXiv:1710.09412).

Each image of a batch is mixed with the next one, and the last with the first. Their order is random in each epoch. Both
are augmented before. The label of a mixed image is shared in the same proportion.
"""

from typing import Any

import numpy as np

MIXUP_DRAWS = 1  # the share of the image itself


def mixup_draws(rng: np.random.Generator, images: int, alpha: float) -> np.ndarray:
    """Return the share of each of ``images`` images in its mixture, Beta(alpha, alpha): float32 (images, 1)."""
    return rng.beta(alpha, alpha, (images, MIXUP_DRAWS)).astype(np.float32)


def own_weights(draws: Any, columns: dict[str, slice]) -> Any:
    """Return the weight of each image in its mixture: float32 (batch, 1, 1, 1).

    Args:
        draws: float32 (batch, draws).
        columns: those of the draws, from ``cifarnet.data.augmentation.draw_columns``.
    """
    return draws[:, columns["mixup"], None, None]


def mixed(images: Any, others: Any, weights: Any) -> Any:
    """Return ``images`` (batch, size, size, channels) with their ``weights``, plus ``others`` with the rest."""
    return weights * images + (1 - weights) * others


def own_shares(weights: Any) -> Any:
    """Return the share of each image in the label of its mixture, which is that of its weights: (batch,)."""
    from keras import ops

    return ops.mean(weights, axis=(1, 2, 3))
