"""The facts that ``cifarnet data`` shows, as plain data: the cache, and summaries of sources."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifarnet.data.cache import decoded_sets
from cifarnet.data.copies import keras_copy
from cifarnet.data.dataset import LeftOut, Splits
from cifarnet.data.named import NAMED
from cifarnet.data.official_names import OfficialSet
from cifarnet.paths import cache_dir
from cifarnet.preprocessing import pixel_moments


@dataclass(frozen=True)
class HeldFile:
    """A file of decoded images in the cache, and the source it was decoded from."""

    path: str
    bytes: int
    source: str


@dataclass(frozen=True)
class Copies:
    """The archive of an official data set in the cache, and Keras's copy of the data set.

    ``checksum_holds`` is None when there is no file ``archive_path``. ``source`` is the name to read the data set by.
    """

    source: str
    title: str
    archive_path: str
    archive_bytes: int
    partial_bytes: int
    checksum_holds: bool | None
    expected_bytes: int
    expected_sha256: str
    url: str
    keras_copy: str | None


@dataclass(frozen=True)
class Inventory:
    """The official data sets on this machine, and the decoded images in the cache."""

    cache: str
    datasets: tuple[Copies, ...]
    decoded: tuple[HeldFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready data that ``cifarnet data --json`` prints."""
        return asdict(self)


@dataclass(frozen=True)
class SourceSummary:
    """The classes of a source, its images per class and split, the image size, and statistics of the training images.

    ``validation_counts`` is None for a source without validation images. ``enlarged`` is the number of images that are
    smaller in the source. ``left_out`` has the files that are not read. ``note`` says how the source was
    read where it can be read in several ways.
    """

    source: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    validation_counts: tuple[int, ...] | None
    image_size: int
    enlarged: int
    mean: float
    std: float
    left_out: tuple[LeftOut, ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready data that ``cifarnet data SOURCE --json`` prints."""
        return {
            **asdict(self),
            "train_images": sum(self.train_counts),
            "test_images": sum(self.test_counts),
            "validation_images": sum(self.validation_counts or ()),
        }


def take_inventory() -> Inventory:
    """Return the inventory of the cache. Hashing an archive takes about a second."""
    names: dict[OfficialSet, str] = {}
    for name, source in NAMED.items():
        if source.wanted:
            names.setdefault(source.wanted.dataset, name)
    return Inventory(
        cache=str(cache_dir()),
        datasets=tuple(copies(name, official) for official, name in names.items()),
        decoded=tuple(HeldFile(str(file), _size(file), source) for file, source in decoded_sets().items()),
    )


def copies(source: str, official: OfficialSet) -> Copies:
    """Return the copies of the data set ``official``, which ``source`` is the name of."""
    archive = official.archive
    path = cache_dir() / archive.name
    part, kept = path.with_name(f"{path.name}.part"), keras_copy(official)
    return Copies(
        source=source,
        title=official.title,
        archive_path=str(path),
        archive_bytes=_size(path),
        partial_bytes=_size(part),
        checksum_holds=archive.is_intact(path) if os.path.isfile(path) else None,
        expected_bytes=archive.size,
        expected_sha256=archive.sha256,
        url=archive.url,
        keras_copy=None if kept is None else str(kept),
    )


def summarize(source: str, splits: Splits) -> SourceSummary:
    """Return the summary of ``splits``, which were read from ``source``."""
    mean, std = pixel_moments(splits.train.images)
    return SourceSummary(
        source=source,
        classes=splits.train.class_names,
        train_counts=tuple(splits.train.counts().tolist()),
        test_counts=tuple(splits.test.counts().tolist()),
        validation_counts=tuple(splits.validation.counts().tolist()) if splits.validation else None,
        image_size=splits.train.images.shape[1],
        enlarged=splits.enlarged,
        mean=mean,
        std=std,
        left_out=splits.left_out,
        note=splits.note,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if os.path.isfile(path) else 0
