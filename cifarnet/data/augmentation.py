"""Normalization and augmentation of batches, on the device.

Rotation, shift, crop, flip and the geometric operations of TrivialAugment are one affine map per image. The random
numbers are an argument. They are drawn on the host from (seed, epoch): one row per image, with the ``draw_columns`` of
each augmentation.
"""

from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from cifarnet.data.colors import JITTER_DRAWS, jitter
from cifarnet.data.trivial_augment import TRIVIAL_DRAWS, choose, geometric_maps, recolor
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import Recipe

MOVE_DRAWS = 4  # rotation, vertical shift, horizontal shift, flip
FLIP = 3
CUTOUT_DRAWS = 2  # vertical and horizontal position
MIXUP_DRAWS = 1  # the share of the image itself
CUTMIX_DRAWS = 3  # side, vertical and horizontal position


def draw_columns(recipe: Recipe) -> dict[str, slice]:
    """Return the columns of the draws by the augmentation that uses them; none for one that ``recipe`` lacks."""
    counts = {
        "moves": MOVE_DRAWS,
        "cutout": CUTOUT_DRAWS if recipe.cutout else 0,
        "jitter": JITTER_DRAWS if recipe.jitter else 0,
        "trivial_augment": TRIVIAL_DRAWS if recipe.trivial_augment else 0,
        "mixup": MIXUP_DRAWS if recipe.mixup else 0,
        "cutmix": CUTMIX_DRAWS if recipe.cutmix else 0,
    }
    ends = accumulate(counts.values())
    return {name: slice(end - count, end) for (name, count), end in zip(counts.items(), ends, strict=True)}


def training_images(pixels: Any, draws: Any, recipe: Recipe, normalization: Normalization) -> Any:
    """Return uint8 ``pixels`` (batch, size, size, 3) normalized and augmented according to ``recipe``.

    In this order: TrivialAugment, jitter, normalization, moves, cutout. ``cifarnet.data.mixing`` mixes the result.

    Args:
        pixels: uint8 (batch, size, size, 3).
        draws: float32 (batch, draws), from ``cifarnet.training.model.epoch_order``.
        recipe: the augmentation settings.
        normalization: of the images.
    """
    from keras import ops

    columns = draw_columns(recipe)
    if recipe.trivial_augment:
        pixels = recolor(ops.cast(pixels, "float32"), choose(draws[:, columns["trivial_augment"]]))
    if recipe.jitter:
        pixels = jitter(ops.cast(pixels, "float32"), draws[:, columns["jitter"]], recipe.jitter)
    images = augment(normalize(pixels, normalization), draws, recipe)
    return hide_squares(images, draws, recipe.cutout)


def normalize(pixels: Any, normalization: Normalization) -> Any:
    """Return ``pixels`` from 0 to 255 (batch, size, size, channels) normalized, as float32 of the same shape."""
    from keras import ops

    return normalization.apply(ops.cast(pixels, "float32"))


def augment(images: Any, draws: Any, recipe: Recipe) -> Any:
    """Return ``images`` randomly rotated, shifted, cropped and flipped according to ``recipe``.

    Crops are padded with zeros, the mean colour after normalization (He et al. 2015). Rotations and shifts repeat the
    border, like Keras's ImageDataGenerator, which the original project used. A geometric operation of TrivialAugment
    comes first, and its border is that of the others.

    Args:
        images: float32 (batch, size, size, channels), normalized.
        draws: float32 (batch, draws), uniform in [0, 1).
        recipe: the augmentation settings.
    """
    if not recipe.moves_images:
        return images
    size = images.shape[1]
    maps = affine_maps(draws, recipe, size)
    if recipe.trivial_augment:
        maps = _composed(geometric_maps(choose(draws[:, draw_columns(recipe)["trivial_augment"]]), size), maps)
    if recipe.rotation or recipe.shift:
        return _sample_between(images, maps)
    return _sample_whole(images, maps)


def _sample_whole(images: Any, maps: Any) -> Any:
    """Sample at whole pixels, with zeros outside: for crops and flips."""
    from keras import ops

    size = images.shape[1]
    x, y = _coordinates(maps, size)
    x, y = (ops.cast(ops.round(c), "int32") for c in (x, y))
    inside = ops.logical_and(
        ops.logical_and(x >= 0, x < size),
        ops.logical_and(y >= 0, y < size),
    )
    return ops.where(inside[..., None], _pixels(images, ops.clip(x, 0, size - 1), ops.clip(y, 0, size - 1)), 0.0)


def _sample_between(images: Any, maps: Any) -> Any:
    """Sample bilinearly, with the border repeated outside: for rotations and shifts by fractions of a pixel."""
    from keras import ops

    size = images.shape[1]
    x, y = (ops.clip(c, 0, size - 1) for c in _coordinates(maps, size))
    left, top = ops.floor(x), ops.floor(y)
    right_share, bottom_share = (x - left)[..., None], (y - top)[..., None]
    left, top = ops.cast(left, "int32"), ops.cast(top, "int32")
    right, bottom = ops.minimum(left + 1, size - 1), ops.minimum(top + 1, size - 1)
    upper = _pixels(images, left, top) * (1 - right_share) + _pixels(images, right, top) * right_share
    lower = _pixels(images, left, bottom) * (1 - right_share) + _pixels(images, right, bottom) * right_share
    return upper * (1 - bottom_share) + lower * bottom_share


def _coordinates(maps: Any, size: int) -> tuple[Any, Any]:
    """Return the input coordinates x and y of each output pixel, each (batch, size, size)."""
    from keras import ops

    across, down = ops.meshgrid(ops.arange(size, dtype="float32"), ops.arange(size, dtype="float32"))
    a, b, c, d, e, f = ops.unstack(maps[:, :, None, None], axis=1)
    return a * across + b * down + c, d * across + e * down + f


def _pixels(images: Any, x: Any, y: Any) -> Any:
    """Return the pixels (batch, size, size, channels) of ``images`` at integer x and y (batch, size, size)."""
    from keras import ops

    size, channels = images.shape[1], images.shape[3]
    first = ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None] * (size * size)
    return ops.take(ops.reshape(images, (-1, channels)), first + y * size + x, axis=0)


def affine_maps(draws: Any, recipe: Recipe, size: int) -> Any:
    """Return the maps (batch, 6) from output pixels (u, v) to input pixels: x = a u + b v + c, y = d u + e v + f.

    An output pixel is mirrored, then rotated about the centre, then shifted.
    """
    import math

    from keras import ops

    turn, down, right, mirror = (2 * draws[:, k] - 1 for k in range(MOVE_DRAWS))  # each in [-1, 1)
    angle = turn * math.radians(recipe.rotation)
    if recipe.crop_padding:
        reach = recipe.crop_padding + 0.5
        # Clipped, because (1 - 2**-24) * 4.5 rounds to 4.5 in float32, half a pixel too far.
        dy, dx = (
            ops.clip(ops.round(move * reach), -recipe.crop_padding, recipe.crop_padding) for move in (down, right)
        )
    else:
        dy, dx = down * recipe.shift * size, right * recipe.shift * size
    sign = ops.where(mirror < 0, -1.0, 1.0) if recipe.flip else ops.ones_like(mirror)
    cos, sin = ops.cos(angle), ops.sin(angle)
    centre = (size - 1) / 2
    rows = (
        sign * cos,
        -sin,
        centre + dx - sign * cos * centre + sin * centre,
        sign * sin,
        cos,
        centre + dy - sign * sin * centre - cos * centre,
    )
    return ops.stack(rows, axis=1)


def _composed(outer: Any, inner: Any) -> Any:
    """Return the maps (batch, 6) that apply ``inner``, then ``outer``, to the coordinates of an output pixel."""
    from keras import ops

    a, b, c, d, e, f = ops.unstack(outer, axis=1)
    g, h, i, j, k, m = ops.unstack(inner, axis=1)
    rows = (a * g + b * j, a * h + b * k, a * i + b * m + c, d * g + e * j, d * h + e * k, d * i + e * m + f)
    return ops.stack(rows, axis=1)


def hide_squares(images: Any, draws: Any, side: int) -> Any:
    """Set a square of ``side`` pixels to zero (the mean colour) in each image; its centre may be anywhere (cutout)."""
    if not side:
        return images
    from keras import ops

    places = draws[:, MOVE_DRAWS : MOVE_DRAWS + CUTOUT_DRAWS]
    return ops.where(squares(places, side, images.shape[1]), 0.0, images)


def squares(places: Any, sides: Any, size: int) -> Any:
    """Return which pixels are in a square, whose centre may be anywhere in the image: bool (batch, size, size, 1).

    Args:
        places: the centres, vertical and horizontal, float32 (batch, 2), in [0, 1).
        sides: whole numbers of pixels, one for all or float32 (batch, 1).
        size: the side of the images in pixels.
    """
    from keras import ops

    pixels = ops.arange(size, dtype="float32")

    def inside(place: Any) -> Any:  # (batch,) -> (batch, size)
        begin = ops.floor(place * size)[:, None] - sides // 2
        return ops.logical_and(pixels[None] >= begin, pixels[None] < begin + sides)

    down, right = (inside(places[:, k]) for k in range(2))
    return ops.logical_and(down[:, :, None], right[:, None, :])[..., None]


def shrink(images: Any, size: int) -> Any:
    """Resample float32 images (batch, n, n, channels) to (batch, size, size, channels), with anti-aliasing."""
    if images.shape[1] == size:
        return images
    from keras import ops

    # As two matrix products: ops.image.resize runs on one core in TensorFlow.
    weights = ops.convert_to_tensor(_triangle(images.shape[1], size))
    rows = ops.einsum("oh,bhwc->bowc", weights, images)
    return ops.einsum("pw,bowc->bopc", weights, rows)


@cache
def _triangle(old: int, new: int) -> np.ndarray:
    """Return the weights (new, old) of a triangle filter as wide as the reduction, like Pillow's BILINEAR."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    distances = np.abs(np.arange(old)[None] + 0.5 - centres[:, None]) / scale
    weights = np.clip(1 - distances, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
