"""Small data sets for the benchmarks: squares of textures, and synthetic pictures that show nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cifarnet.data.dataset import Dataset, Splits
from cifarnet.data.images import read_image, resize_images

SIDE = 32
TEXTURE_SIDES = (32, 64, 128, 256)
"""Pixels of a texture that become 32: how near one looks at it."""


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw each value of each pixel independently, uniform."""
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def coarse_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw squares of four by four pixels of one uniform colour."""
    return noise(rng, count)[:, : SIDE // 4, : SIDE // 4].repeat(4, axis=1).repeat(4, axis=2)


def clouds(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw noise whose amplitude falls as 1 / frequency, as that of natural pictures does (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((count, 3, SIDE, SIDE))) / frequency
    waves = np.fft.irfft2(spectrum, (SIDE, SIDE)).transpose(0, 2, 3, 1)
    deviation = waves.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(128 + 56 * waves / deviation, 0, 255).astype(np.uint8)


def stripes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw waves between two colours, of any direction, 3 to 16 pixels long."""
    angle, length, phase = (rng.uniform(*span, (count, 1, 1)) for span in ((0, np.pi), (3, 16), (0, 2 * np.pi)))
    down, across = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)) / length + phase)
    one, other = rng.uniform(0, 256, (2, count, 1, 1, 3))
    share = (wave[..., None] + 1) / 2
    return (one * share + other * (1 - share)).astype(np.uint8)


def plain(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw pictures of one colour."""
    return np.broadcast_to(noise(rng, count)[:, :1, :1], (count, SIDE, SIDE, 3)).copy()


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise, pixel by pixel": noise,
    "noise, 4x4 pixels": coarse_noise,
    "noise, 1/f": clouds,
    "stripes": stripes,
    "plain colours": plain,
}


def squares(
    rng: np.random.Generator, texture: np.ndarray, count: int, sides: Sequence[int] = TEXTURE_SIDES, size: int = SIDE
) -> np.ndarray:
    """Cut ``count`` squares with ``sides`` in turn from ``texture`` (height, width, 3), resized to ``size`` pixels."""
    height, width, _ = texture.shape
    found = []
    for index in range(count):
        side = min(sides[index % len(sides)], height, width)
        top, left = rng.integers(0, (height - side + 1, width - side + 1))
        found.append(resize_images(texture[None, top : top + side, left : left + side], size)[0])
    return np.stack(found)


def textures(
    paths: Sequence[Path], train: int, test: int, sides: Sequence[int] = TEXTURE_SIDES, size: int = SIDE
) -> Splits:
    """Return a class for each texture: ``train`` squares of its left half and ``test`` of its right half."""
    rng = np.random.default_rng(0)
    pictures = [read_image(path, 512) for path in paths]
    names = tuple(path.stem for path in paths)

    def split(half: int, count: int) -> Dataset:
        images = [squares(rng, picture[:, half * 256 : (half + 1) * 256], count, sides, size) for picture in pictures]
        return Dataset(np.concatenate(images), np.arange(len(paths), dtype=np.int32).repeat(count), names)

    return Splits(split(0, train), split(1, test))


def save_splits(path: Path, splits: Splits) -> None:
    """Write ``splits`` as an .npz file that ``--data`` takes."""
    train, test = splits.train, splits.test
    arrays = {"x_train": train.images, "y_train": train.labels, "x_test": test.images, "y_test": test.labels}
    np.savez(path, **arrays, class_names=np.array(train.class_names))
