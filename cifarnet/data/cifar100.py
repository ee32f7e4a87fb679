"""CIFAR-100: finds the official archive on this machine, or downloads it."""

from collections.abc import Sequence
from pathlib import Path

from cifarnet.data.download import RemoteFile, cached, fetch, verified
from cifarnet.data.progress import Progress
from cifarnet.paths import cache_dir, keras_dir

# The SHA-256 is the one that keras.datasets.cifar100 checks.
PYTHON_ARCHIVE = RemoteFile(
    "cifar-100-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    169_001_437,
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
)


def find_or_fetch(mirrors: Sequence[str], report: Progress, archive: RemoteFile = PYTHON_ARCHIVE) -> Path:
    """Return the path of the cached archive if it is intact, else of Keras's archive, else of a download.

    Raises:
        DownloadError: when there is no copy and every address fails.
        NoHomeError: when there is no copy and no cache directory to download into.
    """
    return cached(archive) or keras_archive(archive) or download(mirrors, report, archive)


def download(mirrors: Sequence[str], report: Progress, archive: RemoteFile = PYTHON_ARCHIVE) -> Path:
    """Return the path of the archive in the cache directory, after a download if it is missing or damaged.

    Raises:
        DownloadError: when every address fails.
        NoHomeError: when there is no cache directory.
    """
    return fetch(archive, cache_dir(), mirrors=mirrors, report=report)


def keras_archive(archive: RemoteFile = PYTHON_ARCHIVE) -> Path | None:
    """Return the archive that ``keras.datasets.cifar100`` downloaded; None if it is missing or damaged."""
    keras = keras_dir()
    if keras is None:
        return None
    names = ("cifar-100-python-target_archive", "cifar-100-python.tar.gz")
    return verified((keras / "datasets" / name for name in names), archive.sha256)


def torchvision_copy(root: Path) -> Path | None:
    """Return the copy that ``torchvision.datasets.CIFAR100`` downloaded to ``root``, a folder or its archive."""
    folder, archive = root / "cifar-100-python", root / PYTHON_ARCHIVE.name
    if all((folder / name).is_file() for name in ("train", "test")):
        return folder
    return archive if archive.is_file() else None


def open_source(argument: str, image_size: int, seed: int, mirrors: Sequence[str], report: Progress) -> Path:
    """Return the path of CIFAR-100; see ``cifarnet.data.named.NamedSource``."""
    return find_or_fetch(mirrors, report)
