"""Labelled images and splits: the common form of all data sources."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cifarnet.data.arrays import taken
from cifarnet.data.official_names import Wanted
from cifarnet.errors import DataError, invalid, listed
from cifarnet.fields import FRACTION
from cifarnet.plurals import counted, verb


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes:
        images: uint8 (n, size, size, 3) RGB.
        labels: int32 (n,), indices into ``class_names``.
        class_names: the classes, in Unicode's normal form C, so that names from macOS equal those from other systems.
        names: the files of the images, relative to the source; None for images from arrays.

    Raises:
        DataError: when the arrays have other types or inconsistent shapes, or a label is not a class.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = tuple(unicodedata.normalize("NFC", name) for name in self.class_names)
        object.__setattr__(self, "class_names", names)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise DataError(f"Images must be uint8 (n, height, width, 3). Received: {_described(self.images)}")
        if self.labels.dtype != np.int32 or self.labels.shape != self.images.shape[:1]:
            raise DataError(f"Labels must be int32 ({len(self.images)},). Received: {_described(self.labels)}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise DataError(
                f"Labels must be 0 to {len(self.class_names) - 1}, one per class of {', '.join(self.class_names)}."
                f" Received: {self.labels.min()} to {self.labels.max()}"
            )
        if self.names is not None and len(self.names) != len(self.labels):
            raise DataError(
                f"Each of {counted(len(self.labels), 'image')} needs a name. Received:"
                f" {counted(len(self.names), 'name')}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Self:
        """Return the images with the indices ``rows``, in their order."""
        names = None if self.names is None else tuple(self.names[row] for row in rows.tolist())
        return type(self)(taken(self.images, rows), self.labels[rows], self.class_names, names)

    def counts(self) -> np.ndarray:
        """Return the number of images of each class, by label."""
        return np.bincount(self.labels, minlength=len(self.class_names))


@dataclass(frozen=True)
class LeftOut:
    """Files of a source that are not read.

    Attributes:
        reason: a plural noun for the files; advice may follow after a colon.
        count: the number of files.
        examples: the names of the first files, as POSIX paths relative to the source.
    """

    reason: str
    count: int
    examples: tuple[str, ...]

    @property
    def line(self) -> str:
        """The message for users: ``Left out: 9 .heic files (train/cat/0.HEIC, ...): install ...``."""
        files, colon, advice = self.reason.partition(": ")
        if self.count == 1:
            files = re.sub(r"\b(file|picture|link|array|folder)s\b", r"\1", files, count=1)
        more = ", ..." if self.count > len(self.examples) else ""
        return f"Left out: {self.count:,} {files} ({', '.join(self.examples)}{more}){colon}{advice}"


@dataclass(frozen=True)
class Parts:
    """The images of a source as it is stored; ``test`` and ``validation`` are None if it has no such split.

    Raises:
        DataError: when the splits differ in classes or image size.
    """

    train: Dataset
    test: Dataset | None = None
    validation: Dataset | None = None
    left_out: tuple[LeftOut, ...] = ()
    enlarged: int = 0
    """Number of images that are smaller in the source."""
    official: Wanted | None = None
    """The official data set that the files hold, and the labels that were read."""

    def __post_init__(self) -> None:
        for name, other in (("Test", self.test), ("Validation", self.validation)):
            if other is not None:
                require_same_classes(self.train.class_names, other.class_names, name)
                _require_same_size(self.train, other, name)


@dataclass(frozen=True)
class Splits:
    """Training and test images, and validation images if the source has any.

    Raises:
        DataError: when the splits differ in classes or image size.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None
    left_out: tuple[LeftOut, ...] = ()
    enlarged: int = 0
    """Number of images that are smaller in the source."""
    note: str = ""
    """How the source was read where it can be read in several ways, as text for the user."""

    def __post_init__(self) -> None:
        Parts(self.train, self.test, self.validation)

    def sha256(self) -> str:
        """Return the SHA-256 of all pixels and labels, in their order."""
        digest = hashlib.sha256()
        for dataset in (self.train, self.test, self.validation):
            if dataset is not None:
                digest.update(np.ascontiguousarray(dataset.images).data)
                digest.update(np.ascontiguousarray(dataset.labels).data)
        return digest.hexdigest()


def require_same_classes(train: Sequence[str], other: Sequence[str], name: str) -> None:
    """Check that the split ``name`` (Test or Validation) has the classes of the training images, in the same order.

    Raises:
        DataError: when they differ. The message lists the classes that one of the two lacks.
    """
    if tuple(train) == tuple(other):
        return
    split = name.lower()
    without_training, without_other = sorted(set(other) - set(train)), sorted(set(train) - set(other))
    problems = [
        f"{', '.join(names)} {verb(len(names), 'has', 'have')} no {lacking} images"
        for names, lacking in ((without_other, split), (without_training, "training"))
        if names
    ]
    by_spelling = {_spelling(class_name): class_name for class_name in without_other}
    alike = [
        f"{class_name!r} and {by_spelling[_spelling(class_name)]!r} differ in capitals or spaces: give both one name"
        for class_name in without_training
        if _spelling(class_name) in by_spelling
    ]
    raise DataError(
        f"Training and {split} images must have the same classes"
        f"{': ' + '; '.join(problems + alike) if problems else ' in the same order'}."
        f" Received: {listed(train, 20)} for training and {listed(other, 20)} for {split}"
    )


def _spelling(class_name: str) -> str:
    return "".join(class_name.casefold().split())


def _require_same_size(train: Dataset, other: Dataset, name: str) -> None:
    if train.images.shape[1:] != other.images.shape[1:]:
        raise DataError(
            f"Training and {name.lower()} images must have the same size. Received: {train.images.shape[1:]} for"
            f" training and {other.images.shape[1:]} for {name.lower()}"
        )


def hold_out(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split ``data`` at random into (rest, held out). The second part gets ``fraction`` of every class, at least one.

    The split is stratified, so that both parts have every class. Images keep their order.

    Raises:
        InvalidValueError: when ``fraction`` is not between 0 and 1.
        DataError: when a class has fewer than two images.
    """
    require_fraction("fraction", fraction, what="The fraction to hold out")
    rng = np.random.default_rng(seed)
    held = np.zeros(len(data), bool)
    for label, name in enumerate(data.class_names):
        rows = np.flatnonzero(data.labels == label)
        if len(rows) < 2:
            raise DataError(
                f"Class {name!r} has {counted(len(rows), 'image')}: at least 2 are needed to hold some out."
            )
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held[rng.choice(rows, count, replace=False)] = True
    return data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))


def require_fraction(field: str, fraction: float, what: str | None = None) -> None:
    """Check that ``fraction``, the value of the parameter ``field``, is in the range ``FRACTION``.

    ``what`` names it in the message in place of ``field``.

    Raises:
        InvalidValueError: when it does not.
    """
    if fraction not in FRACTION:
        raise invalid(field, f"must be {FRACTION}", fraction, what=what)


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
