"""Name networks: validated plain data, enough to describe a network, build it and feed it."""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np

from cifarnet.errors import InvalidValueError, did_you_mean
from cifarnet.models.family import Family
from cifarnet.models.layers import Layer, named_weights
from cifarnet.models.resnet import RESNET

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


MODELS = {"resnet": RESNET}
"""The families of networks. A new one is a module with its ``Family`` and a row here."""


@dataclass(frozen=True)
class ModelSpec:
    """A network by its name, its number of classes and the side of its images in pixels.

    Raises:
        InvalidValueError: for an unknown name, fewer than two classes, or an image size that the network does not
            take. The message names valid values.
    """

    name: str = "resnet20"
    classes: int = 10
    image_size: int = 32

    def __post_init__(self) -> None:
        family = self.family
        family.require_depth(self.depth)
        if self.classes < 2:
            raise InvalidValueError(f"A classifier needs at least 2 classes. Received: {self.classes}")
        if not family.takes(self.image_size):
            raise InvalidValueError(
                f"The image size must be a multiple of {family.image_multiple}, at least {family.smallest_image} pixels"
                f" ({self.title} halves it). Received: {self.image_size}"
            )

    @property
    def family(self) -> Family:
        """The family that the network belongs to.

        Raises:
            InvalidValueError: when no family has a network of this name.
        """
        return _parse(self.name)[0]

    @property
    def depth(self) -> int:
        """The number in the network's name: its layers with weights on the longest path."""
        return _parse(self.name)[1]

    @property
    def title(self) -> str:
        """The network's name in prose: ``ResNet-20``."""
        return self.family.title(self.depth)

    def grows_from(self, smaller: Self) -> bool:
        """Return whether the network consists of that of ``smaller`` and units that can begin as identities.

        The number of classes may differ.
        """
        if self.family is not smaller.family or not self.family.grows or self.depth <= smaller.depth:
            return False
        mine, theirs = (named_weights(describe(replace(spec, classes=2))) for spec in (self, smaller))
        return all(name in mine and mine[name].shape == weight.shape for name, weight in theirs.items())

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready data; ``ModelSpec(**spec.to_dict()) == spec``."""
        return asdict(self)


@lru_cache(maxsize=32)
def describe(spec: ModelSpec) -> tuple[Layer, ...]:
    """Return the top-level layers of the network of ``spec``, in order."""
    return spec.family.describe(spec.depth, spec.classes, spec.image_size)


def base_and_head(spec: ModelSpec) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Return the layers of the base, which ``--freeze-base`` keeps fixed, and those of the head behind it."""
    layers = describe(spec)
    start = [layer.name for layer in layers].index(spec.family.head)
    return layers[:start], layers[start:]


def model_name(depth: int) -> str:
    """Return the name of the pre-activation ResNet of ``depth``, which ``--depth`` is short for.

    Raises:
        InvalidValueError: for a depth that is not 6n+2.
    """
    RESNET.require_depth(depth)
    return f"resnet{depth}"


def _parse(name: str) -> tuple[Family, int]:
    for family in MODELS.values():
        if match := family.pattern.fullmatch(name):
            return family, int(match["depth"])
    known = [each for family in MODELS.values() for each in family.names]
    forms = ", ".join(family.form for family in MODELS.values())
    raise InvalidValueError(
        f"There is no such network.{did_you_mean(name[:64], known)} Networks are {', '.join(known)}, and all others of"
        f" the form {forms}. Received: {name:.60}"
    )


PRESETS = {name: ModelSpec(name) for family in MODELS.values() for name in family.names}
"""The documented networks by name."""


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
