"""Finds copies of an official data set on this machine, or downloads its archive."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cifarnet.data.download import cached, fetch, verified
from cifarnet.data.official import incomplete_batches
from cifarnet.data.official_names import OfficialSet
from cifarnet.data.progress import Progress, silent
from cifarnet.paths import cache_dir, keras_dir
from cifarnet.plurals import verb

_LOGGER = logging.getLogger(__name__)


def find_or_fetch(official: OfficialSet, mirrors: Sequence[str] = (), report: Progress = silent) -> Path:
    """Return the path of a copy: the cached archive if it is intact, else Keras's copy, else a download.

    Raises:
        DownloadError: when there is no copy and every address fails.
        NoHomeError: when there is no copy and no cache directory to download into.
    """
    return cached(official.archive) or keras_copy(official) or download(official, mirrors, report)


def download(official: OfficialSet, mirrors: Sequence[str] = (), report: Progress = silent) -> Path:
    """Return the path of the archive in the cache directory, after a download if it is missing or damaged.

    Raises:
        DownloadError: when every address fails.
        NoHomeError: when there is no cache directory.
    """
    return fetch(official.archive, cache_dir(), mirrors=mirrors, report=report)


def keras_copy(official: OfficialSet) -> Path | None:
    """Return the copy that ``keras.datasets`` downloaded to $KERAS_HOME or ~/.keras, a folder or an archive.

    A folder must have all its batches complete; Keras has verified the archive they come from. An incomplete folder is
    logged and not used. An archive must match its checksum. The result is None if there is no copy.
    """
    keras = keras_dir()
    if keras is None:
        return None
    datasets, names = keras / "datasets", official.python
    if found := _whole_folder((datasets / folder for folder in names.keras_folders), official):
        return found
    return verified((datasets / name for name in names.keras_archives), names.sha256)


def torchvision_copy(official: OfficialSet, root: Path) -> Path | None:
    """Return the copy that ``torchvision.datasets`` downloaded to its folder ``root``, a folder or its archive.

    If the folder is incomplete, that is logged and the archive is used. The result is None if there is no copy.
    """
    if found := _whole_folder([root / official.python.folder], official):
        return found
    archive = root / official.python.archive
    return archive if archive.is_file() else None


def _whole_folder(folders: Iterable[Path], official: OfficialSet) -> Path | None:
    """Return the first of ``folders`` that has all batches; log incomplete ones."""
    for folder in folders:
        if not os.path.isdir(folder):
            continue
        if not (incomplete := incomplete_batches(folder, official)):
            return folder
        _LOGGER.warning(
            "%s is not used: %s missing or cut off. Delete the folder, or unpack its archive again.",
            folder,
            f"{', '.join(incomplete)} {verb(len(incomplete), 'is', 'are')}",
        )
    return None
