"""What happens to a batch of images before the network sees it, on the device.

Rotations, shifts, crops and flips are one affine map an image. The random numbers are an argument: uniform numbers,
drawn on the host from (seed, epoch); ``MOVE_DRAWS`` an image for the map, then ``CUTOUT_DRAWS`` where a square is
hidden.
"""

from functools import cache
from typing import Any

import numpy as np

from cifarnet.recipes import Recipe

MOVE_DRAWS = 4  # rotation, vertical move, horizontal move, flip
FLIP = 3
CUTOUT_DRAWS = 2  # vertical and horizontal place


def augment(images: Any, draws: Any, recipe: Recipe) -> Any:
    """Move ``images`` about at random as ``recipe`` says.

    ``images`` float32 (batch, size, size, channels), normalized; ``draws`` float32 (batch, draws), uniform in [0, 1).
    Crops are padded with zeros, which normalization made the mean grey, as He et al. 2015 do; what rotation and shift
    uncover repeats the border, as Keras's ImageDataGenerator, the original project's tool, did.
    """
    from keras import ops

    if not (recipe.rotation or recipe.shift or recipe.crop_padding or recipe.flip):
        return images
    maps = affine_maps(draws, recipe, images.shape[1])
    moves_by_fractions = recipe.rotation > 0 or recipe.shift > 0
    return ops.image.affine_transform(
        images,
        maps,
        # Whole pixels need no interpolation, so crops and flips stay exact.
        interpolation="bilinear" if moves_by_fractions else "nearest",
        fill_mode="nearest" if moves_by_fractions else "constant",
        fill_value=0.0,
        data_format="channels_last",
    )


def affine_maps(draws: Any, recipe: Recipe, size: int) -> Any:
    """The maps (batch, 8) from output to input pixels (x, y), in the order that ``ops.image.affine_transform`` takes.

    An output pixel is mirrored, rotated about the centre and then moved.
    """
    import math

    from keras import ops

    turn, down, right, mirror = (2 * draws[:, k] - 1 for k in range(MOVE_DRAWS))  # each in [-1, 1)
    angle = turn * math.radians(recipe.rotation)
    if recipe.crop_padding:
        reach = recipe.crop_padding + 0.5
        # Clipped, because (1 - 2**-24) * 4.5 rounds to 4.5 in float32, which is half a pixel too far.
        dy, dx = (
            ops.clip(ops.round(move * reach), -recipe.crop_padding, recipe.crop_padding) for move in (down, right)
        )
    else:
        dy, dx = down * recipe.shift * size, right * recipe.shift * size
    sign = ops.where(mirror < 0, -1.0, 1.0) if recipe.flip else ops.ones_like(mirror)
    cos, sin = ops.cos(angle), ops.sin(angle)
    centre = (size - 1) / 2
    zero = ops.zeros_like(cos)
    rows = (
        sign * cos,
        -sin,
        centre + dx - sign * cos * centre + sin * centre,
        sign * sin,
        cos,
        centre + dy - sign * sin * centre - cos * centre,
        zero,
        zero,
    )
    return ops.stack(rows, axis=1)


def hide_squares(images: Any, draws: Any, side: int) -> Any:
    """Set a square of ``side`` pixels, centred anywhere in the image, to zero (the mean grey) in each image."""
    if not side:
        return images
    from keras import ops

    pixels = ops.arange(images.shape[1], dtype="float32")

    def inside(draw: Any) -> Any:  # (batch,) -> (batch, size)
        centre = ops.floor(draw * images.shape[1])[:, None]
        begin = centre - side // 2
        return ops.logical_and(pixels[None] >= begin, pixels[None] < begin + side)

    down, right = (inside(draws[:, MOVE_DRAWS + k]) for k in range(CUTOUT_DRAWS))
    hidden = ops.logical_and(down[:, :, None], right[:, None, :])[..., None]
    return ops.where(hidden, 0.0, images)


def shrink(images: Any, size: int) -> Any:
    """Resample float32 images (batch, n, n, channels) to (batch, size, size, channels), without aliasing."""
    if images.shape[1] == size:
        return images
    from keras import ops

    # As two matrix products: ops.image.resize runs on one core in TensorFlow.
    weights = ops.convert_to_tensor(_triangle(images.shape[1], size))
    rows = ops.einsum("oh,bhwc->bowc", weights, images)
    return ops.einsum("pw,bowc->bopc", weights, rows)


@cache
def _triangle(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of a triangle filter as wide as the reduction: Pillow's BILINEAR."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    distances = np.abs(np.arange(old)[None] + 0.5 - centres[:, None]) / scale
    weights = np.clip(1 - distances, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
