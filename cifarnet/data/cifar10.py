"""CIFAR-10 itself: a copy on this machine, or the official archive downloaded."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cifarnet.data.download import RemoteFile, fetch
from cifarnet.data.official import TEST_BATCH, TRAIN_BATCHES
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import NoHomeError
from cifarnet.files import sha256_of
from cifarnet.paths import cache_dir, keras_dir

BINARY_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
# keras.datasets.cifar10 gets the Python layout, and checks this.
PYTHON_ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def find_or_fetch(mirrors: Sequence[str] = (), report: Progress = silent, archive: RemoteFile = BINARY_ARCHIVE) -> Path:
    """The path of a copy of CIFAR-10: the cached archive if it is intact, else Keras's, else a download.

    Raises:
        DownloadError: when there is no copy and no address gives one.
        NoHomeError: when there is no copy and no cache directory to download into.
    """
    with suppress(NoHomeError):
        cached = cache_dir() / archive.name
        if archive.is_intact(cached):
            return cached
    return keras_copy() or download(mirrors, report, archive)


def download(mirrors: Sequence[str] = (), report: Progress = silent, archive: RemoteFile = BINARY_ARCHIVE) -> Path:
    """The path of the archive in the cache directory, downloaded unless it is there and intact.

    Raises:
        DownloadError: when no address gives it.
        NoHomeError: when there is no cache directory.
    """
    return fetch(archive, cache_dir(), mirrors=mirrors, report=report)


def keras_copy() -> Path | None:
    """The copy that ``keras.datasets.cifar10`` has left in $KERAS_HOME or ~/.keras, if any: a folder or an archive.

    A folder needs all its batches; Keras has checked the archive that they come from. An archive's checksum must
    hold.
    """
    keras = keras_dir()
    if keras is None:
        return None
    datasets = keras / "datasets"
    # Keras 3 unpacks into a folder of another name than Keras 2.
    for folder in ("cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py"):
        if all(os.path.isfile(datasets / folder / batch) for batch in (*TRAIN_BATCHES, TEST_BATCH)):
            return datasets / folder
    for name in ("cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz"):
        if os.path.isfile(datasets / name) and sha256_of(datasets / name) == PYTHON_ARCHIVE_SHA256:
            return datasets / name
    return None
