"""The facts that ``cifarnet data`` shows, as plain data: the cache, and summaries of sources."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifarnet.data.cache import decoded_sets
from cifarnet.data.cifar10 import BINARY_ARCHIVE, keras_copy
from cifarnet.data.dataset import LeftOut, Splits
from cifarnet.data.download import RemoteFile
from cifarnet.paths import cache_dir
from cifarnet.preprocessing import pixel_moments


@dataclass(frozen=True)
class HeldFile:
    """A file of decoded images in the cache, and the source it was decoded from."""

    path: str
    bytes: int
    source: str


@dataclass(frozen=True)
class Inventory:
    """The contents of the cache, and Keras's copy of CIFAR-10.

    ``checksum_holds`` is None when there is no file ``archive_path``.
    """

    cache: str
    archive_path: str
    archive_bytes: int
    partial_bytes: int
    checksum_holds: bool | None
    expected_bytes: int
    expected_sha256: str
    url: str
    keras_copy: str | None
    decoded: tuple[HeldFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready data that ``cifarnet data --json`` prints."""
        return asdict(self)


@dataclass(frozen=True)
class SourceSummary:
    """The classes of a source, its images per class and split, the image size, and statistics of the training images.

    ``validation_counts`` is None for a source without validation images. ``enlarged`` is the number of images that are
    smaller in the source. ``left_out`` has the files that are not read.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready data that ``cifarnet data SOURCE --json`` prints."""
        return {
            **asdict(self),
            "train_images": sum(self.train_counts),
            "test_images": sum(self.test_counts),
            "validation_images": sum(self.validation_counts or ()),
        }


def take_inventory(archive: RemoteFile = BINARY_ARCHIVE) -> Inventory:
    """Return the inventory of the cache. Hashing the archive takes about a second."""
    path = cache_dir() / archive.name
    part = path.with_name(f"{path.name}.part")
    copy = keras_copy()
    return Inventory(
        cache=str(cache_dir()),
        archive_path=str(path),
        archive_bytes=_size(path),
        partial_bytes=_size(part),
        checksum_holds=archive.is_intact(path) if os.path.isfile(path) else None,
        expected_bytes=archive.size,
        expected_sha256=archive.sha256,
        url=archive.url,
        keras_copy=None if copy is None else str(copy),
        decoded=tuple(HeldFile(str(file), _size(file), source) for file, source in decoded_sets().items()),
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
    )


def _size(path: Path) -> int:
    return path.stat().st_size if os.path.isfile(path) else 0
