"""What data and networks share: class names with their limits, and the normalization of pixels."""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cifarnet.errors import InvalidValueError, listed

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


@dataclass(frozen=True)
class Normalization:
    """The preprocessing (pixel - mean) / std of a network's images.

    ``mean`` and ``std`` are scalars for all channels, in units of pixel values from 0 to 255.

    Raises:
        InvalidValueError: when a value is not finite, or ``std`` is not above 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise InvalidValueError(
                f"Normalization needs a finite mean and a standard deviation above 0."
                f" Received: mean {self.mean}, standard deviation {self.std}"
            )

    @classmethod
    def of(cls, images: "np.ndarray") -> Self:
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
        return cls(mean, variance**0.5 or 1.0)
