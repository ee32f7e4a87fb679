"""Images with labels, and a source's two splits: what every source turns into and every service takes."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from cifarnet.errors import DataError, InvalidValueError


@dataclass(frozen=True)
class Dataset:
    """Labelled images: ``images`` uint8 (n, size, size, 3) RGB, ``labels`` int32 (n,), ``class_names`` by label.

    ``names`` are those of the images' files, relative to the source; None for images that come from arrays.

    Raises:
        DataError: when the arrays contradict each other or a label names no class.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise DataError(f"Images must be uint8 (n, height, width, 3). Received: {_told(self.images)}")
        if self.labels.dtype != np.int32 or self.labels.shape != self.images.shape[:1]:
            raise DataError(f"Labels must be int32 ({len(self.images)},). Received: {_told(self.labels)}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise DataError(
                f"Labels must be 0 to {len(self.class_names) - 1}, one per class of {', '.join(self.class_names)}."
                f" Received: {self.labels.min()} to {self.labels.max()}"
            )
        if self.names is not None and len(self.names) != len(self.labels):
            raise DataError(f"Each of {len(self.labels):,} images needs a name. Received: {len(self.names):,} names")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Self:
        """The data set of these ``rows`` (integers), in their order."""
        names = None if self.names is None else tuple(self.names[row] for row in rows.tolist())
        return type(self)(self.images[rows], self.labels[rows], self.class_names, names)

    def counts(self) -> np.ndarray:
        """Images per class, by label."""
        return np.bincount(self.labels, minlength=len(self.class_names))


@dataclass(frozen=True)
class Splits:
    """A source's training and test images, which share their classes.

    Raises:
        DataError: when the two splits differ in classes or image size.
    """

    train: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        if self.train.class_names != self.test.class_names:
            raise DataError(
                f"Training and test images must have the same classes. Received:"
                f" {', '.join(self.train.class_names)} for training and {', '.join(self.test.class_names)} for testing"
            )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"Training and test images must have the same size. Received:"
                f" {self.train.images.shape[1:]} for training and {self.test.images.shape[1:]} for testing"
            )

    def sha256(self) -> str:
        """Of all pixels and labels, in their order."""
        digest = hashlib.sha256()
        for dataset in (self.train, self.test):
            digest.update(np.ascontiguousarray(dataset.images).data)
            digest.update(np.ascontiguousarray(dataset.labels).data)
        return digest.hexdigest()


def hold_out(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split ``data`` at random into (rest, held out), the latter with ``fraction`` of every class, at least one.

    Stratified, so that a class with few images is in both parts; rows keep their order.

    Raises:
        InvalidValueError: when ``fraction`` is not between 0 and 1.
        DataError: when a class has fewer than two images.
    """
    require_fraction("The fraction to hold out", fraction)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(data), bool)
    for label, name in enumerate(data.class_names):
        rows = np.flatnonzero(data.labels == label)
        if len(rows) < 2:
            raise DataError(f"Class {name!r} has {len(rows)} image(s): at least 2 are needed to hold some out.")
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held[rng.choice(rows, count, replace=False)] = True
    return data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))


def require_fraction(what: str, fraction: float) -> None:
    """Refuse a ``fraction`` that leaves no images in one of two parts; ``what`` names it in the message.

    Raises:
        InvalidValueError: when it does not lie between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InvalidValueError(f"{what} must lie between 0 and 1, both excluded. Received: {fraction}")


def _told(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
