"""Mix training images with one another, on the device: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

Mixup (arXiv:1710.09412) adds two images. CutMix (arXiv:1905.04899) replaces a square of an image by that of another.

Each image of a batch is mixed with the next one, and the last with the first. Their order is random in each epoch. Both
are augmented before. The label of a mixed image is shared in the same proportion.
"""

from typing import Any

import numpy as np

from cifarnet.data.augmentation import CUTMIX_DRAWS, MIXUP_DRAWS, draw_columns, squares
from cifarnet.recipes import Recipe


def mixup_draws(rng: np.random.Generator, images: int, alpha: float) -> np.ndarray:
    """Return the share of each of ``images`` images in its mixture, Beta(alpha, alpha): float32 (images, 1)."""
    return rng.beta(alpha, alpha, (images, MIXUP_DRAWS)).astype(np.float32)


def cutmix_draws(rng: np.random.Generator, images: int, probability: float) -> np.ndarray:
    """Return side and place of the square that is replaced in each of ``images`` images: float32 (images, 3).

    Sides are fractions of that of the image, 0 without a square. The areas of squares are uniform in [0, 1), before
    the border of the image cuts them. The places are uniform in [0, 1).
    """
    chosen, areas, *places = rng.random((1 + CUTMIX_DRAWS, images), np.float32)
    return np.stack([np.where(chosen < probability, np.sqrt(areas), np.float32(0)), *places], axis=1)


def own_weights(draws: Any, recipe: Recipe, size: int) -> Any:
    """Return the weight of each image in its mixture: float32 (batch, 1 or size, 1 or size, 1).

    An image with a square of CutMix gets no mixup.

    Args:
        draws: float32 (batch, draws).
        recipe: the augmentation settings.
        size: the side of the images in pixels.
    """
    from keras import ops

    columns = draw_columns(recipe)
    shares = draws[:, columns["mixup"]] if recipe.mixup else ops.ones_like(draws[:, :1])
    if not recipe.cutmix:
        return shares[:, :, None, None]
    sides, places = draws[:, columns["cutmix"]][:, :1], draws[:, columns["cutmix"]][:, 1:]
    replaced = ops.cast(squares(places, ops.floor(sides * size), size), "float32")
    return ops.where(sides > 0, 1.0, shares)[:, :, None, None] * (1 - replaced)


def mixed(images: Any, others: Any, weights: Any) -> Any:
    """Return ``images`` (batch, size, size, channels) with their ``weights``, plus ``others`` with the rest."""
    return weights * images + (1 - weights) * others


def own_shares(weights: Any) -> Any:
    """Return the share of each image in the label of its mixture, the mean of its ``weights``: (batch,)."""
    from keras import ops

    return ops.mean(weights, axis=(1, 2, 3))
