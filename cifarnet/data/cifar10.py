"""CIFAR-10: finds a copy on this machine, or downloads the official archive."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cifarnet.data.download import RemoteFile, cached, fetch, verified
from cifarnet.data.official import incomplete_batches
from cifarnet.data.progress import Progress, silent
from cifarnet.paths import cache_dir, keras_dir

_LOGGER = logging.getLogger(__name__)

BINARY_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
# keras.datasets.cifar10 downloads this archive in the Python layout, and checks this SHA-256.
PYTHON_ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def find_or_fetch(mirrors: Sequence[str] = (), report: Progress = silent, archive: RemoteFile = BINARY_ARCHIVE) -> Path:
    """Return the path of a copy of CIFAR-10: the cached archive if it is intact, else Keras's copy, else a download.

    Raises:
        DownloadError: when there is no copy and every address fails.
        NoHomeError: when there is no copy and no cache directory to download into.
    """
    return cached(archive) or keras_copy() or download(mirrors, report, archive)


def open_source(argument: str, image_size: int, seed: int, mirrors: Sequence[str], report: Progress) -> Path:
    """Return the path of CIFAR-10; see ``cifarnet.data.named.NamedSource``."""
    return find_or_fetch(mirrors, report)


def download(mirrors: Sequence[str] = (), report: Progress = silent, archive: RemoteFile = BINARY_ARCHIVE) -> Path:
    """Return the path of the archive in the cache directory, after a download if it is missing or damaged.

    Raises:
        DownloadError: when every address fails.
        NoHomeError: when there is no cache directory.
    """
    return fetch(archive, cache_dir(), mirrors=mirrors, report=report)


def keras_copy() -> Path | None:
    """Return the copy that ``keras.datasets.cifar10`` downloaded to $KERAS_HOME or ~/.keras, a folder or an archive.

    A folder must have all its batches complete; Keras has verified the archive they come from. An incomplete folder is
    logged and not used. An archive must match its checksum. The result is None if there is no copy.
    """
    keras = keras_dir()
    if keras is None:
        return None
    datasets = keras / "datasets"
    # Keras 3 unpacks into a folder of another name than Keras 2.
    folders = ("cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py")
    if found := _whole_folder(datasets / folder for folder in folders):
        return found
    archives = ("cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz")
    return verified((datasets / name for name in archives), PYTHON_ARCHIVE_SHA256)


def torchvision_copy(root: Path) -> Path | None:
    """Return the copy that ``torchvision.datasets.CIFAR10`` downloaded to its folder ``root``, a folder or its archive.

    If the folder is incomplete, that is logged and the archive is used. The result is None if there is no copy.
    """
    if found := _whole_folder([root / "cifar-10-batches-py"]):
        return found
    archive = root / "cifar-10-python.tar.gz"
    return archive if archive.is_file() else None


def _whole_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first of ``folders`` that has all batches; log incomplete ones."""
    for folder in folders:
        if not os.path.isdir(folder):
            continue
        if not (incomplete := incomplete_batches(folder)):
            return folder
        _LOGGER.warning(
            "%s is not used: %s missing or cut off. Delete the folder, or unpack its archive again.",
            folder,
            f"{', '.join(incomplete)} {'is' if len(incomplete) == 1 else 'are'}",
        )
    return None
