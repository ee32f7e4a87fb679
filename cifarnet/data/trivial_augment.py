"""TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158): one random operation of random strength on each image.

The operations and strengths are those of the paper's wide search space, except that ``equalize`` is missing: it needs a
histogram of each image and channel, for one image in fourteen. The geometric operations are affine maps, which
``cifarnet.data.augmentation`` composes with that of crops and flips, so that an image is sampled once.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from cifarnet.data.colors import blend, grey, mean_grey

TRIVIAL_DRAWS = 3  # operation, strength, sign

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
)
STRENGTHS = 31
"""The number of equally spaced strengths, from none to the greatest."""

# At the greatest strength, either way.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.99, 32.0, 135.0, 0.99  # _TRANSLATION in pixels, at every image size
# Bits of a pixel value that posterize drops at the greatest strength.
_DROPPED_BITS = 6


class Choice(NamedTuple):
    """What is done to each image: index in ``OPERATIONS``, strength from 0 to 1, and sign, -1 or 1, each (batch,)."""

    operation: Any
    strength: Any
    sign: Any

    def is_(self, name: str) -> Any:
        """Return whether the operation of each image is ``name``: (batch,)."""
        return self.operation == OPERATIONS.index(name)


def choose(draws: Any) -> Choice:
    """Return the choice of ``draws``, float32 (batch, 3), uniform in [0, 1)."""
    from keras import ops

    operation = ops.cast(ops.floor(draws[:, 0] * len(OPERATIONS)), "int32")
    strength = ops.floor(draws[:, 1] * STRENGTHS) / (STRENGTHS - 1)
    return Choice(operation, strength, ops.where(draws[:, 2] < 0.5, -1.0, 1.0))


def recolor(pixels: Any, choice: Choice) -> Any:
    """Return ``pixels`` after the operation of each image, if that changes colours.

    Args:
        pixels: whole numbers from 0 to 255 as float32 (batch, height, width, 3).
        choice: what is done to each image.
    """
    # Every image goes through every operation, at a strength that changes nothing unless the operation is its own. With
    # ``ops.where`` on the results, 128 images of 32 pixels took 22 ms instead of 7 (TensorFlow, one AVX2 core).
    from keras import ops

    def own(name: str) -> Any:  # 1 where the operation is that of the image, 0 elsewhere: (batch, 1, 1, 1)
        return ops.cast(choice.is_(name), "float32")[:, None, None, None]

    strength, sign = (each[:, None, None, None] for each in (choice.strength, choice.sign))
    pixels = _drop_bits(pixels, ops.round(_DROPPED_BITS * strength * own("posterize")))
    pixels = _invert_from(pixels, 256 - own("solarize") * (1 + 255 * strength))
    pixels = _stretch(pixels, own("autocontrast"))
    return _enhance(pixels, own, 1 + _ENHANCEMENT * sign * strength)


def _drop_bits(pixels: Any, bits: Any) -> Any:
    """Return ``pixels`` with the lowest ``bits`` zero."""
    from keras import ops

    bits = ops.cast(bits, "int32")
    return ops.cast(ops.left_shift(ops.right_shift(ops.cast(pixels, "int32"), bits), bits), "float32")


def _invert_from(pixels: Any, threshold: Any) -> Any:
    """Return ``pixels`` with the values from ``threshold`` on inverted."""
    from keras import ops

    return pixels + ops.cast(pixels >= threshold, "float32") * (255 - 2 * pixels)


def _stretch(pixels: Any, own: Any) -> Any:
    """Return ``pixels`` with the range of each channel stretched to 0 to 255 where ``own`` is 1.

    A channel with a single value stays as it is.
    """
    from keras import ops

    low, high = (reduce(pixels, axis=(1, 2), keepdims=True) for reduce in (ops.min, ops.max))
    own = own * ops.cast(high > low, "float32")
    return (pixels - own * low) * (1 + own * (255 / ops.maximum(high - low, 1.0) - 1))


def _enhance(pixels: Any, own: Callable[[str], Any], factor: Any) -> Any:
    """Return ``pixels`` with brightness, colour, contrast or sharpness multiplied by ``factor`` in their own images."""
    brightness, color, contrast, sharpness = map(own, ("brightness", "color", "contrast", "sharpness"))
    others = 1 - (brightness + color + contrast + sharpness)
    # What a factor of 0 gives. In the other images it is the image, so that the factor changes nothing.
    start = others * pixels + sharpness * _smooth(pixels) + (color * grey(pixels) + contrast * mean_grey(pixels))
    return blend(start, pixels, factor)


def _smooth(pixels: Any) -> Any:
    """Return ``pixels`` after Pillow's filter SMOOTH, which leaves the border alone."""
    from keras import ops

    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = pixels[:, 1:-1, 1:-1]
    # The weights of the nine pixels are 1, and 5 in the middle.
    return pixels + ops.pad((box + 4 * inner) / 13 - inner, ((0, 0), (1, 1), (1, 1), (0, 0)))


def geometric_maps(choice: Choice, size: int) -> Any:
    """Return the maps (batch, 6) of the geometric operations, as ``cifarnet.data.augmentation.affine_maps``.

    Rotations are about the centre. Shears leave the upper or left edge in place.
    """
    from keras import ops

    def amount(name: str, greatest: float) -> Any:
        return ops.where(choice.is_(name), greatest * choice.sign * choice.strength, 0.0)

    shear_x, shear_y = (amount(name, _SHEAR) for name in ("shear_x", "shear_y"))
    right, down = (amount(name, _TRANSLATION) for name in ("translate_x", "translate_y"))
    angle = amount("rotate", math.radians(_DEGREES))
    cos, sin = ops.cos(angle), ops.sin(angle)
    centre = (size - 1) / 2
    # The upper edge is half a pixel above the centre of the first row.
    rows = (
        cos,
        shear_x - sin,
        centre - cos * centre + sin * centre + shear_x / 2 + right,
        shear_y + sin,
        cos,
        centre - sin * centre - cos * centre + shear_y / 2 + down,
    )
    return ops.stack(rows, axis=1)
