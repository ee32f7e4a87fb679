"""What a network is, as validated plain data: enough to build it, name it and feed it."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from cifarnet.errors import InvalidValueError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class ModelSpec:
    """A ResNet for small images, by depth (6n+2, n >= 1), number of classes and image size in pixels.

    Raises:
        InvalidValueError: for a depth that is not 6n+2, fewer than two classes, or an image size that two
            halvings don't divide; the message names valid values.
    """

    depth: int = 20
    classes: int = 10
    image_size: int = 32

    def __post_init__(self) -> None:
        if self.depth < 8 or (self.depth - 2) % 6:
            raise InvalidValueError(
                f"A CIFAR ResNet has a depth of 6n+2 (8, 14, 20, 26, 32, ...); nearest: {_nearest_depths(self.depth)}."
                f" Received: {self.depth}"
            )
        if self.classes < 2:
            raise InvalidValueError(f"A classifier needs at least 2 classes. Received: {self.classes}")
        if self.image_size < 8 or self.image_size % 4:
            raise InvalidValueError(
                f"The image size must be a multiple of 4, at least 8 pixels (two stages halve it)."
                f" Received: {self.image_size}"
            )

    @property
    def name(self) -> str:
        """The network's name in files and on the command line: ``resnet20``."""
        return f"resnet{self.depth}"

    @property
    def title(self) -> str:
        """The network's name in prose: ``ResNet-20``."""
        return f"ResNet-{self.depth}"

    @property
    def units_per_stage(self) -> int:
        """The n of 6n+2: residual units in each of the three stages."""
        return (self.depth - 2) // 6

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready data; ``ModelSpec(**spec.to_dict()) == spec``."""
        return asdict(self)


# The five networks of the project's document and of He et al. 2015 (arXiv:1512.03385, table 6).
PRESETS = {spec.name: spec for spec in (ModelSpec(depth) for depth in (20, 32, 44, 56, 110))}


def _nearest_depths(depth: int) -> str:
    below = max(8, depth - (depth - 2) % 6)
    return str(below) if depth <= below else f"{below} and {below + 6}"


@dataclass(frozen=True)
class Normalization:
    """Preprocessing of a network's input: (pixel - mean) / std, one scalar for all channels, in units of 0 to 255."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise InvalidValueError(
                f"Normalization needs a finite mean and a standard deviation above 0."
                f" Received: mean {self.mean}, standard deviation {self.std}"
            )

    @classmethod
    def of(cls, images: np.ndarray) -> Self:
        """Mean and population standard deviation of uint8 ``images`` (any shape).

        Computed exactly from the 256 counts, which needs no float copy of the images (1.2 GB in float64 for
        CIFAR-10). Images of a single grey level get a standard deviation of 1.
        """
        # Chunked, because bincount converts its input to int64: eight bytes a pixel.
        counts = np.zeros(256)
        for start in range(0, len(images), 1000):
            counts += np.bincount(images[start : start + 1000].reshape(-1), minlength=256)
        levels = np.arange(256)
        mean = float(counts @ levels / counts.sum())
        variance = float(counts @ (levels - mean) ** 2 / counts.sum())
        return cls(mean, variance**0.5 or 1.0)
