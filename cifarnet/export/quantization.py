"""What a network in 8-bit integers costs in accuracy, and gains in size and time."""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from cifarnet.export.verify import Probabilities

WARNING_POINTS = 1.0
"""A larger loss of accuracy, in percentage points, deserves a warning."""

_REPEATS_ONE, _REPEATS_BATCH = 50, 5
"""How often one image and a batch are timed."""


@dataclass(frozen=True)
class Figures:
    """Size, accuracy and speed of an exported network.

    Attributes:
        bytes: its size.
        accuracy: accuracy on the test images, 0 to 1.
        milliseconds_one: time for one image, the median of 50 measurements.
        milliseconds_batch: time for a batch, the median of 5. A batch has 250 images, or fewer if they are large or
            there are fewer.
    """

    bytes: int
    accuracy: float
    milliseconds_one: float
    milliseconds_batch: float


@dataclass(frozen=True)
class Int8Cost:
    """A network in float32 and in 8-bit integers, in the same format.

    Attributes:
        calibration_images: the number of training images that gave the ranges.
        batch: the number of images in a batch.
        float32: the figures in float32.
        int8: the figures in 8-bit integers.
    """

    calibration_images: int
    batch: int
    float32: Figures
    int8: Figures

    @property
    def points_lost(self) -> float:
        """The accuracy lost in percentage points, negative for a gain."""
        return 100 * (self.float32.accuracy - self.int8.accuracy)

    @property
    def is_costly(self) -> bool:
        """Whether more than ``WARNING_POINTS`` are lost."""
        return self.points_lost > WARNING_POINTS

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data."""
        return {**asdict(self), "points_lost": self.points_lost}


def figures(
    network: Probabilities, found: np.ndarray, images: np.ndarray, labels: np.ndarray, batch_size: int, size: int
) -> Figures:
    """Return the figures of ``network``.

    Args:
        network: the opened file.
        found: its probabilities for ``images``, (n, classes).
        images: the test images, uint8 (n, size, size, 3).
        labels: their classes, int (n,).
        batch_size: the number of images in a batch.
        size: the size of the file in bytes.
    """
    accuracy = float((found.argmax(axis=1) == labels).mean())
    one = _milliseconds(network, images[:1], _REPEATS_ONE)
    batch = _milliseconds(network, images[:batch_size], _REPEATS_BATCH)
    return Figures(size, accuracy, one, batch)


def _milliseconds(network: Probabilities, images: np.ndarray, repeats: int) -> float:
    network(images)  # Memory is allocated for this number of images.
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        network(images)
        seconds.append(perf_counter() - start)
    return 1000 * float(np.median(seconds))
