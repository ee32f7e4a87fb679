"""Corrupt images in the 15 ways of CIFAR-10-C at five severities (Hendrycks and Dietterich 2019, arXiv:1903.12261).

The severities are those of the published program for CIFAR-10 (``make_cifar_c.py`` in
https://github.com/hendrycks/robustness), whose images are 32x32 pixels. Lengths in pixels grow with larger images.

Differences from the published images:

- The random numbers differ.
- The photos of frost are replaced by noise with their mean colours, contrast and roughness.
- Motion blur, which the program computes with ImageMagick, is a one-sided Gaussian along a line of nearest pixels.
- Levels are rounded, not cut off, at the end.

No package is used. ``imagecorruptions`` 1.1.2 of 2020 has the severities of ImageNet, and needs OpenCV and
scikit-image.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cifarnet.data.filters import blur_matrix, filtered, mirrored
from cifarnet.errors import unknown_value
from cifarnet.fields import Range, require_whole

SEVERITIES = 5
"""The number of severities of every corruption."""

_SIZE = 32
"""The image size that the severities are for."""


@dataclass(frozen=True)
class Corruption:
    """A corruption: the function that applies it, and what the function takes at each severity.

    ``apply`` takes images, float32 (n, size, size, 3) from 0 to 1, a setting, and a random generator. It returns images
    of that shape, whose values may be outside of 0 to 1.
    """

    apply: Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
    settings: tuple[Any, ...]


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Return corrupted ``images``, uint8 (n, size, size, 3).

    The result depends on the arguments only. It takes about twenty times the memory of the images.

    Args:
        images: uint8 (n, size, size, 3).
        name: one of ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: at least 0. The random numbers of corruptions and severities with the same seed are independent.

    Raises:
        InvalidValueError: for an unknown corruption, another severity, or a negative seed.
    """
    if name not in CORRUPTIONS:
        raise unknown_value("name", name, CORRUPTIONS, what="The corruption")
    Range(1, SEVERITIES).require("severity", severity)
    require_whole("seed", seed, low=0)
    rng = np.random.default_rng((seed, tuple(CORRUPTIONS).index(name), severity))
    chosen = CORRUPTIONS[name]
    levels = chosen.apply(images / np.float32(255), chosen.settings[severity - 1], rng)
    return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(images: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return images + np.float32(deviation) * rng.standard_normal(images.shape, np.float32)


def _shot_noise(images: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """``photons`` is the mean count of white."""
    return rng.poisson(images * photons) / photons


def _impulse_noise(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A ``share`` of the values becomes 0 or 1."""
    chance = rng.random(images.shape, np.float32)
    return np.where(chance < share, (chance < share / 2).astype(np.float32), images)


def _defocus_blur(images: np.ndarray, lens: tuple[float, float], _: np.random.Generator) -> np.ndarray:
    """``lens`` is the radius of the disk that a point becomes, and the deviation of the blur of the disk's edge."""
    radius, edge = (length * _scale(images) for length in lens)
    # The published program blurs the disk with a kernel of 3x3 pixels, which cuts wide edges off.
    reach = max(1, round(_scale(images)))
    gauss = np.exp(-0.5 * (np.arange(-reach, reach + 1) / edge) ** 2).astype(np.float32)
    places = np.arange(-int(radius), int(radius) + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float32)
    blurred = _convolved(images, np.outer(gauss, gauss) / gauss.sum() ** 2)
    return _convolved(blurred, disk / disk.sum())


def _glass_blur(images: np.ndarray, glass: tuple[float, int], rng: np.random.Generator) -> np.ndarray:
    """``glass`` is the deviation of the blur before and after, and how often pixels are displaced.

    In a pass, every pixel gets the value of itself or of its neighbour above, left, or both. The published program
    swaps views of one array, which copies these values and does not exchange them.
    """
    sigma, passes = glass
    count, size = images.shape[:2]
    reach = max(1, round(_scale(images)))
    blur = blur_matrix(size, sigma * _scale(images))
    found = filtered(images, blur)
    places = np.arange(size)
    for _ in range(passes):
        rows, columns = (rng.integers(-reach, reach, (count, size, size)) for _ in range(2))
        found = _pixels(found, np.clip(rows + places[:, None], 0, size - 1), np.clip(columns + places, 0, size - 1))
    return filtered(found, blur)


def _motion_blur(images: np.ndarray, motion: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    return _moved(images, motion, rng.uniform(-45, 45, len(images)))


def _zoom_blur(images: np.ndarray, factors: np.ndarray, _: np.random.Generator) -> np.ndarray:
    total = images.copy()
    for factor in factors:
        total += filtered(images, _zoom_matrix(images.shape[1], factor))
    return total / (len(factors) + 1)


def _snow(images: np.ndarray, snow: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """``snow`` is the mean, deviation, zoom and threshold of flakes, their motion, and the share of the colours."""
    mean, deviation, zoom, threshold, radius, sigma, colour = snow
    count, size = images.shape[:2]
    flakes = rng.normal(mean, deviation, (count, size, size, 1)).astype(np.float32)
    flakes = filtered(flakes, _zoom_matrix(size, zoom))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = _moved(flakes, (radius, sigma), rng.uniform(-135, -45, (count,)))
    grey = images @ np.array([[0.299], [0.587], [0.114]], np.float32)
    whitened = colour * images + (1 - colour) * np.maximum(images, 1.5 * grey + 0.5)
    return whitened + flakes + flakes[:, ::-1, ::-1]


# Of crops of 32x32 pixels of the published photos of frost, in which the program keeps every fifth pixel: the mean red,
# green and blue, and the standard deviation within a crop. The second photo is there twice.
_FROST = np.array(
    [(78, 149, 165, 14), (198, 203, 212, 18), (198, 203, 212, 18), (143, 158, 171, 26), (103, 114, 126, 34)],
    np.float32,
) / np.float32(255)
_FROST_CROPS = 10 / 255
"""The standard deviation of the mean level of crops of one photo."""
_FROST_DECAY = 0.95
"""The ``decay`` whose clouds differ from pixel to pixel by 0.85 standard deviations on average, as the crops do."""


def _frost(images: np.ndarray, shares: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """``shares`` are the weights of the image and of the frost."""
    of_image, of_frost = shares
    count = len(images)
    kind = _FROST[rng.integers(0, len(_FROST), count), None, None]
    texture = _plasma(count, images.shape[1], _FROST_DECAY, rng)[..., None]
    texture -= texture.mean((1, 2), keepdims=True)
    texture /= np.maximum(texture.std((1, 2), keepdims=True), 1e-6)
    level = rng.normal(0, _FROST_CROPS, (count, 1, 1, 1)).astype(np.float32)
    ice = np.clip(kind[..., :3] + level + kind[..., 3:] * texture, 0, 1)
    return of_image * images + of_frost * ice


def _fog(images: np.ndarray, fog: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """``fog`` is the weight of the fog, and how fast its details become weaker (``_plasma``)."""
    weight, decay = fog
    brightest = images.max((1, 2, 3), keepdims=True)
    foggy = images + weight * _plasma(len(images), images.shape[1], decay, rng)[..., None]
    return foggy * brightest / (brightest + weight)


def _brightness(images: np.ndarray, added: float, _: np.random.Generator) -> np.ndarray:
    """``added`` goes to the value of HSV: hue and saturation stay."""
    value = images.max(3, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    return np.where(value > 0, images * (brighter / np.maximum(value, 1e-6)), brighter)


def _contrast(images: np.ndarray, kept: float, _: np.random.Generator) -> np.ndarray:
    mean = images.mean((1, 2), keepdims=True)
    return (images - mean) * np.float32(kept) + mean


def _elastic_transform(images: np.ndarray, elastic: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """``elastic`` is the strength and the deviation of the blur of displacements, and the reach of an affine change.

    They are parts of the image size. Three corners of a square move by at most the reach.
    """
    count, size = images.shape[:2]
    strength, sigma, reach = (part * size for part in elastic)
    near, far = size // 2 - size // 3, size // 2 + size // 3
    corners = np.array([(far, far), (near, far), (near, near)], float)
    moved = corners + rng.uniform(-reach, reach, (count, 3, 2))
    # A pixel of the result is looked up where it was before the change.
    before = np.linalg.solve(np.concatenate([moved, np.ones((count, 3, 1))], 2), np.broadcast_to(corners, moved.shape))
    y, x = (axis.astype(float) for axis in np.mgrid[:size, :size])
    places = np.stack([y, x, np.ones_like(y)], 2).reshape(1, -1, 3) @ before
    affine = _sampled(images, *(places[..., axis].reshape(count, size, size) for axis in (0, 1)))
    shifts = filtered(rng.uniform(-1, 1, (count, size, size, 2)).astype(np.float32), blur_matrix(size, sigma))
    return _sampled(affine, y + strength * shifts[..., 0], x + strength * shifts[..., 1])


def _pixelate(images: np.ndarray, part: float, _: np.random.Generator) -> np.ndarray:
    size = images.shape[1]
    small = max(1, int(size * part))

    def pixelated(picture: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return picture.resize((small, small), box).resize((size, size), box)

    return _by_pillow(images, pixelated)


def _jpeg_compression(images: np.ndarray, quality: int, _: np.random.Generator) -> np.ndarray:
    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(images, compressed)


CORRUPTIONS = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": Corruption(_glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    "motion_blur": Corruption(_motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption(
        # np.arange includes the stop of two of the ranges, by rounding: so it did in the published program.
        _zoom_blur,
        tuple(np.arange(1, stop, 0.01) for stop in (1.06, 1.11, 1.16, 1.21, 1.26)),
    ),
    "snow": Corruption(
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(_frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": Corruption(_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(
        _elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": Corruption(_jpeg_compression, (80, 65, 58, 50, 40)),
}
"""The corruptions of CIFAR-10-C in the order of the paper, under the names of their files."""


def _scale(images: np.ndarray) -> float:
    """Return what lengths in pixels are multiplied by: 1 for images of 32 pixels and below."""
    return max(1.0, images.shape[1] / _SIZE)


def _convolved(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return ``images`` convolved with the symmetric ``kernel`` (k, k), k odd. The edge is mirrored."""
    reach, size = len(kernel) // 2, images.shape[1]
    places = mirrored(np.arange(-reach, size + reach), size)
    padded = images[:, places[:, None], places]
    total = np.zeros_like(images)
    for (row, column), weight in np.ndenumerate(kernel):
        if weight:
            total += weight * padded[:, row : row + size, column : column + size]
    return total


def _moved(images: np.ndarray, motion: tuple[float, float], degrees: np.ndarray) -> np.ndarray:
    """Return ``images`` blurred along a line in the direction of ``degrees`` (n,), clockwise from the right.

    ``motion`` is the radius and the deviation of the kernel, of which a line has 2 radius + 1 pixels on one side.
    Beyond the edge, its pixels are repeated.
    """
    size = images.shape[1]
    radius, sigma = (length * _scale(images) for length in motion)
    steps = np.arange(2 * round(radius) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2).astype(np.float32)
    places, angles = np.arange(size), np.radians(degrees)[:, None]
    total = np.zeros_like(images)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        rows = np.clip(places + np.rint(step * np.sin(angles)).astype(int), 0, size - 1)
        columns = np.clip(places + np.rint(step * np.cos(angles)).astype(int), 0, size - 1)
        total += weight * _pixels(images, rows[:, :, None], columns[:, None, :])
    return total


def _zoom_matrix(size: int, factor: float) -> np.ndarray:
    """Return the enlargement of the middle of ``size`` pixels by ``factor``, float32 (size, size), bilinear.

    Like SciPy's zoom, it enlarges whole pixels, from the centre of the first to the centre of the last.
    """
    middle = int(np.ceil(size / factor))
    enlarged = round(middle * factor)
    places = (size - middle) // 2 + np.linspace(0, middle - 1, enlarged)
    spare = (enlarged - size) // 2
    places = places[spare : spare + size]
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)


def _plasma(count: int, size: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Return clouds, float32 (count, size, size) from 0 to 1, by the diamond-square algorithm on a torus.

    Points halfway between known ones get their mean and a random number (Fournier, Fussell and Carpenter 1982,
    "Computer rendering of stochastic models"). Whenever the distance of the points is halved, the range of the random
    numbers is divided by the square of ``decay``.
    """
    side = 1 << (size - 1).bit_length()
    cloud = np.zeros((count, side, side), np.float32)
    step, reach = side, 1.0

    def between(corners: np.ndarray) -> np.ndarray:
        return corners / 4 + rng.uniform(-reach, reach, corners.shape).astype(np.float32)

    while step > 1:
        half = step // 2
        known = cloud[:, ::step, ::step]
        beside = known + np.roll(known, -1, 2)
        cloud[:, half::step, half::step] = between(beside + np.roll(beside, -1, 1))
        middles = cloud[:, half::step, half::step]
        cloud[:, ::step, half::step] = between(beside + middles + np.roll(middles, 1, 1))
        below = known + np.roll(known, -1, 1)
        cloud[:, half::step, ::step] = between(below + middles + np.roll(middles, 1, 2))
        step, reach = half, reach / decay**2
    cloud -= cloud.min((1, 2), keepdims=True)
    cloud /= np.maximum(cloud.max((1, 2), keepdims=True), np.float32(1e-6))
    return cloud[:, :size, :size]


def _sampled(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return ``images`` at fractional ``rows`` and ``columns`` (n, size, size), bilinear.

    The image is mirrored at its edges once. Farther out, the last pixels are repeated.
    """
    last = images.shape[1] - 1
    down, right = (np.clip(last - np.abs(last - np.abs(each)), 0, last) for each in (rows, columns))
    top, left = down.astype(int), right.astype(int)
    down, right = ((down - top)[..., None].astype(np.float32), (right - left)[..., None].astype(np.float32))
    bottom = np.minimum(top + 1, last)
    upper, lower = (
        _pixels(images, row, left) * (1 - right) + _pixels(images, row, np.minimum(left + 1, last)) * right
        for row in (top, bottom)
    )
    return upper * (1 - down) + lower * down


def _pixels(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the pixels of ``images`` at ``rows`` and ``columns``, integers that broadcast to (n, size, size)."""
    count, size, _, channels = images.shape
    first = np.arange(count)[:, None, None] * size**2
    # Twice as fast as indexing with three arrays.
    return images.reshape(-1, channels).take(first + rows * size + columns, axis=0)


def _by_pillow(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Return ``images`` changed one by one as Pillow's images."""
    pixels = np.rint(images * 255).astype(np.uint8)
    changed = [np.asarray(change(Image.fromarray(each))) for each in pixels]
    return np.stack(changed) / np.float32(255)
