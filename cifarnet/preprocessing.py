"""What data and networks share: class names with their limits, and the normalization of pixels."""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cifarnet.errors import InvalidValueError, listed
from cifarnet.fields import FLOAT_LIMIT, convert_fields

if TYPE_CHECKING:
    import numpy as np

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CLASS_LIMIT = 5_000
"""The most classes. Their confusion matrix takes 200 MB of memory and 50 MB of metrics.json."""
NAME_LIMIT = 100
"""The most characters of a class name."""

_SHOWN = 60
_CHUNK_BYTES = 3_000_000
# Unicode categories of control characters, surrogates, and line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Unicode controls of the writing direction, which can make one name look like another in a terminal.
_REFUSED_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def name_fault(name: str) -> str | None:
    """Return why ``name`` is not a valid class name, as the end of a sentence; None if it is valid."""
    if not name.strip():
        return f"must not be empty. Received: {name!r:.{_SHOWN}}"
    if len(name) > NAME_LIMIT:
        return f"must have at most {NAME_LIMIT} characters. Received: {len(name):,} characters, {name!r:.{_SHOWN}}..."
    if any(
        unicodedata.category(char) in _REFUSED_CATEGORIES or unicodedata.bidirectional(char) in _REFUSED_DIRECTIONS
        for char in name
    ):
        return f"must not have control characters. Received: {name!a:.{_SHOWN}}"
    return None


def names_fault(names: Sequence[str]) -> str | None:
    """Return why ``names`` are not valid class names, as the end of a sentence; None if they are valid.

    Names are compared in Unicode's normal form C, without leading and trailing spaces.
    """
    if len(names) > CLASS_LIMIT:
        return f"must name at most {CLASS_LIMIT:,} classes. Received: {len(names):,} names"
    for name in names:
        if fault := name_fault(name):
            return f"must name classes, and each name {fault}"
    counts = Counter(unicodedata.normalize("NFC", name).strip() for name in names)
    if twice := [name for name, times in counts.items() if times > 1]:
        return f"must name every class once. Received twice: {listed(twice)}"
    return None


CHANNELS = ("red", "green", "blue")
"""The channels of images, in their order."""

PerChannel = tuple[float, float, float]
"""A value for each of the ``CHANNELS``."""


@dataclass(frozen=True)
class Normalization:
    """The preprocessing (pixel - mean) / std of a network's images.

    ``mean`` and ``std`` are in units of pixel values from 0 to 255. Both are scalars for all channels, or both have a
    value for each of the ``CHANNELS``.

    Raises:
        InvalidValueError: when one is a scalar and the other is not, when a value is not a finite float32, or when a
            value of ``std`` is not above 0.
    """

    mean: float | PerChannel
    std: float | PerChannel

    def __post_init__(self) -> None:
        convert_fields(self)
        means, stds = (value if isinstance(value, tuple) else (value,) for value in (self.mean, self.std))
        finite = all(abs(value) <= FLOAT_LIMIT for value in (*means, *stds))
        if not (finite and len(means) == len(stds) and all(value >= 1 / FLOAT_LIMIT for value in stds)):
            raise InvalidValueError(
                "Normalization needs a finite mean and a standard deviation above 0, for all channels or for each"
                f" channel. Received: mean {self.mean}, standard deviation {self.std}"
            )

    @property
    def per_channel(self) -> bool:
        """Whether there is a mean and a standard deviation for each channel."""
        return isinstance(self.mean, tuple)

    @classmethod
    def of(cls, images: "np.ndarray") -> Self:
        """Return the normalization by the ``pixel_moments`` of uint8 ``images`` of any shape."""
        return cls(*pixel_moments(images))

    def apply(self, pixels: Any) -> Any:
        """Return float32 ``pixels`` (..., 3) from 0 to 255 normalized."""
        return (pixels - _operand(self.mean)) / _operand(self.std)

    def invert(self, normalized: Any) -> Any:
        """Return the pixels, from 0 to 255, of float32 images ``normalized`` (..., 3)."""
        return normalized * _operand(self.std) + _operand(self.mean)

    def change(self, normalized: Any, other: "Normalization") -> Any:
        """Return float32 images ``normalized`` (..., 3) as the normalization ``other`` gives them."""
        mean, std, other_mean, other_std = map(_exact, (self.mean, self.std, other.mean, other.std))
        return normalized * _operand(std / other_std) + _operand((mean - other_mean) / other_std)

    def to_dict(self) -> dict[str, float | list[float]]:
        """Return mean and standard deviation as JSON-ready data."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in (("mean", self.mean), ("std", self.std))
        }


def _exact(value: float | PerChannel) -> Any:
    """Return a scalar as it is, or the values for the channels as float64 (3,)."""
    import numpy as np

    return np.array(value) if isinstance(value, tuple) else value


def _operand(value: Any) -> Any:
    """Return a scalar as it is, or the values for the channels as float32 (3,), for operations with float32 tensors."""
    # Scalars stay Python numbers, so that results are those of earlier versions to the last bit.
    import numpy as np

    return value if isinstance(value, float) else np.asarray(value, np.float32)


def pixel_moments(images: "np.ndarray") -> tuple[float, float]:
    """Return the mean and population standard deviation of uint8 ``images`` of any shape.

    The standard deviation of images with a single grey level is 1. The computation counts the 256 levels, which is
    exact and needs no float copy of the images (1.2 GB in float64 for CIFAR-10).
    """
    import numpy as np  # Not at the top: names of data sources are looked up without it.

    # In chunks, because bincount converts its input to int64, with eight bytes a pixel.
    counts = np.zeros(256)
    step = max(1, _CHUNK_BYTES // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        counts += np.bincount(images[start : start + step].reshape(-1), minlength=256)
    levels = np.arange(256)
    mean = float(counts @ levels / counts.sum())
    variance = float(counts @ (levels - mean) ** 2 / counts.sum())
    return mean, variance**0.5 or 1.0
