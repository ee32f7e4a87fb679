"""Random rotations, shifts, crops and flips of a batch, on the device, as one affine map an image.

The random numbers are an argument: ``DRAWS`` uniform numbers an image, drawn on the host from (seed, epoch).
"""

from typing import Any

from cifarnet.recipes import Recipe

DRAWS = 4  # rotation, vertical move, horizontal move, flip


def augment(images: Any, draws: Any, recipe: Recipe) -> Any:
    """Move ``images`` about at random as ``recipe`` says.

    ``images`` float32 (batch, size, size, channels), normalized; ``draws`` float32 (batch, DRAWS), uniform in [0, 1).
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

    turn, down, right, mirror = (2 * draws[:, k] - 1 for k in range(DRAWS))  # each in [-1, 1)
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
