"""Generates images of ten coloured shapes and textures on noise, for first runs, tests and benchmarks."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cifarnet.data.dataset import Dataset, Parts, Splits
from cifarnet.data.images import count_enlarged, resize_images
from cifarnet.data.progress import Progress
from cifarnet.errors import InvalidValueError

Array = NDArray[np.floating]

DEFAULT_SIZE = 5000
MINIMUM, MAXIMUM = 50, 100_000
# The most digits of the number of images.
_MOST_DIGITS = 20
"""The range of the number of training images."""
# Images per chunk. In float64, an image takes 25 kB.
_CHUNK = 1000
_PIXELS = 32


def open_source(argument: str, image_size: int, seed: int, mirrors: Sequence[str], report: Progress) -> Parts:
    """Return the images of ``synthetic:argument``; see ``cifarnet.data.named.NamedSource``.

    Raises:
        InvalidValueError: when ``argument`` is not the number of training images.
    """
    # Python does not convert numbers with more than 4,300 digits.
    if argument and not (argument.isdecimal() and len(argument) <= _MOST_DIGITS):
        raise InvalidValueError(
            f"synthetic:N needs the number of training images, {MINIMUM} to {MAXIMUM:,}."
            f" Received: synthetic:{argument:.50}"
        )
    splits = synthetic(int(argument or DEFAULT_SIZE), seed)
    train, test = (
        Dataset(resize_images(part.images, image_size), part.labels, part.class_names)
        for part in (splits.train, splits.test)
    )
    return Parts(train, test, enlarged=count_enlarged(image_size, splits.train.images, splits.test.images))


def synthetic(train_images: int = DEFAULT_SIZE, seed: int = 0) -> Splits:
    """Return generated training images and a fifth as many test images, uint8 (n, 32, 32, 3), with balanced classes.

    The same size and seed give the same bytes on every machine. Random numbers are drawn as integers, and only
    operations that IEEE 754 defines exactly are used (no sine, no logarithm, nothing that a compiler may fuse).

    Generating 100,000 training images takes about 2 GB of memory.

    Raises:
        InvalidValueError: when ``train_images`` is less than 50 or more than 100,000.
    """
    if not MINIMUM <= train_images <= MAXIMUM:
        raise InvalidValueError(
            f"The synthetic set has {MINIMUM} to {MAXIMUM:,} training images. Received: {train_images}"
        )
    return Splits(_draw(train_images, [seed, 0]), _draw(train_images // 5, [seed, 1]))


def _draw(count: int, seed: list[int]) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count, dtype=np.int32) % len(SYNTHETIC_CLASSES))
    inside = np.empty((count, _PIXELS, _PIXELS), np.float32)
    for label in range(len(SYNTHETIC_CLASSES)):
        rows = np.flatnonzero(labels == label)
        inside[rows] = _coverage(label, len(rows), rng)
    # In most images the shape is brighter than the background, by a different amount in each channel.
    ground = rng.integers(60, 140, (count, 1, 1, 3))
    contrast = rng.integers(25, 100, (count, 1, 1, 3)) * rng.choice([1, 1, 1, 1, -1], (count, 1, 1, 1))
    noise, factors = _noise(count, rng), contrast.astype(np.float32)
    images = np.empty(noise.shape, np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = np.clip(ground[part] + noise[part] + factors[part] * inside[part, ..., None], 0, 255)
    return Dataset(images, labels, SYNTHETIC_CLASSES)


def _coverage(label: int, count: int, rng: np.random.Generator) -> Array:
    """Return the fraction of each pixel that is inside a shape of class ``label``, float32 (count, 32, 32)."""
    pixels = np.arange(_PIXELS, dtype=np.float32)
    radius, period = _uniform(rng, 6, 12, count), _uniform(rng, 5, 9, count)
    x = pixels[None, None, :] - _uniform(rng, 12, 19, count)
    y = pixels[None, :, None] - _uniform(rng, 12, 19, count)
    # A shape is defined by the distance in pixels from its edge, negative inside.
    distance = _SHAPES[SYNTHETIC_CLASSES[label]](x, y, radius, period)
    coverage: Array = np.clip(np.float32(0.5) - distance, 0, 1)
    return coverage


def _noise(count: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return fine grain plus 8 x 8 blocks, int16 (count, 32, 32, 3)."""
    noise, second = rng.integers(-30, 31, (2, count, _PIXELS, _PIXELS, 3), np.int16)
    blocks = rng.integers(-25, 26, (count, 4, 4, 3), np.int16)
    noise += second
    noise += blocks.repeat(8, axis=1).repeat(8, axis=2)
    return noise


def _uniform(rng: np.random.Generator, low: int, high: int, count: int) -> Array:
    """Return numbers from ``low`` to ``high`` in steps of 1/256, float32 (count, 1, 1)."""
    return (rng.integers(low * 256, high * 256, (count, 1, 1)) / 256).astype(np.float32)


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y))


def _circle(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


def _stripes(along: Array, period: Array) -> Array:
    return _to_centre(along, period) - period / 4


def _to_centre(along: Array, period: Array) -> Array:
    """Return the distance to the centre of the nearest stripe, 0 to period / 2."""
    turns = along / period
    return np.abs(turns - np.floor(turns) - np.float32(0.5)) * period


def _checks(x: Array, y: Array, period: Array) -> Array:
    across, down = _stripes(x, period), _stripes(y, period)
    return np.maximum(np.minimum(across, down), -np.maximum(across, down))


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(y, np.float32(0.875) * np.abs(x) - y / 2)


def _cross(x: Array, y: Array) -> Array:
    across, down = np.abs(x), np.abs(y)
    arms: Array = np.minimum(np.maximum(across, 3 * down), np.maximum(down, 3 * across))
    return arms


# By class: the distance in pixels from the edge of a shape of radius r, negative inside. Textures are clipped to a
# square. Constants are binary fractions.
_SHAPES: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "circle": lambda x, y, r, period: _circle(x, y) - r,
    "ring": lambda x, y, r, period: np.abs(_circle(x, y) - r * 3 / 4) - r / 4,
    "square": lambda x, y, r, period: _square(x, y) - r * 7 / 8,
    "diamond": lambda x, y, r, period: (np.abs(x) + np.abs(y)) * np.float32(0.75) - r * 7 / 8,
    "triangle": lambda x, y, r, period: _triangle(x, y) - r * 5 / 8,
    "cross": lambda x, y, r, period: _cross(x, y) - r,
    "horizontal stripes": lambda x, y, r, period: np.maximum(_square(x, y) - r, _stripes(y, period)),
    "vertical stripes": lambda x, y, r, period: np.maximum(_square(x, y) - r, _stripes(x, period)),
    "checkerboard": lambda x, y, r, period: np.maximum(_square(x, y) - r, _checks(x, y, period)),
    "dots": lambda x, y, r, period: np.maximum(
        _square(x, y) - r, _circle(_to_centre(x, period), _to_centre(y, period)) - period * 5 / 16
    ),
}
SYNTHETIC_CLASSES = tuple(_SHAPES)
