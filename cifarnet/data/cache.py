"""The cache directory, and the decoded image folders in it."""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet.data.dataset import Dataset
from cifarnet.data.tree import read_tree
from cifarnet.errors import DataError, StorageError
from cifarnet.files import replacing

_LOGGER = logging.getLogger(__name__)
# Part of every fingerprint: raise it when decoding changes, so that no older entry is taken.
_VERSION = 2

_ARRAYS = {"fingerprint", "source", "class_names", "train_images", "train_labels", "train_names"}
_TEST_ARRAYS = {"test_images", "test_labels", "test_names"}


def cache_dir() -> Path:
    """Where downloads and decoded sets are kept: $CIFARNET_CACHE, else the platform's cache directory."""
    if chosen := os.environ.get("CIFARNET_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("cifarnet", appauthor=False)


def compiled_dir() -> Path:
    """Where JAX keeps what it compiled for a GPU, in the cache directory."""
    return cache_dir() / "xla"


def decoded_dir() -> Path:
    """Where decoded sets are kept, in the cache directory."""
    return cache_dir() / "decoded"


@dataclass(frozen=True)
class DecodedSet:
    """The cache's entry for the pictures at ``source`` (absolute) at ``image_size`` pixels.

    A source has one entry for each image size; a changed source overwrites its own, so that the cache doesn't
    grow with every change.
    """

    source: Path
    image_size: int

    @property
    def path(self) -> Path:
        """The entry's file, whether or not it exists."""
        key = hashlib.sha256(os.fsencode(f"{self.source}\n{self.image_size}")).hexdigest()[:16]
        return decoded_dir() / f"{key}.npz"

    def fingerprint(self) -> str:
        """SHA-256 of whatever tells that the source has changed: all names, sizes and modification times.

        Raises:
            DataError: when the source can't be listed.
        """
        digest = hashlib.sha256(os.fsencode(f"{_VERSION}\n{self.source}\n{self.image_size}\n"))
        # An archive is told by its own state: reading its members is most of the work that the cache saves.
        files = {"": self.source}
        if self.source.is_dir():
            tree = read_tree(self.source)
            digest.update(os.fsencode("\n".join(sorted(tree.folders))))
            files = {name: file for name, file in tree.files.items() if isinstance(file, Path)}
        for name, file in files.items():
            try:
                state = file.stat()
            except OSError as error:
                raise DataError(f"{file} can't be read: {error.strerror}.") from error
            digest.update(os.fsencode(f"\n{name}\0{state.st_size}\0{state.st_mtime_ns}"))
        return digest.hexdigest()

    def load(self, fingerprint: str) -> tuple[Dataset, Dataset | None] | None:
        """The training and test images stored under ``fingerprint``; None where there are none, or damaged ones."""
        try:
            # Opened here, because np.load leaves a file that is no zip open.
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["fingerprint"]) != fingerprint:
                    return None
                names = tuple(str(name) for name in stored["class_names"])
                train = _stored_part(stored, "train", names)
                if set(stored.files) == _ARRAYS:
                    return train, None
                # A changed letter in the name of an array is all that its checksum does not see.
                if set(stored.files) != _ARRAYS | _TEST_ARRAYS:
                    raise DataError(f"it holds {', '.join(stored.files)}")
                return train, _stored_part(stored, "test", names)
        except FileNotFoundError:
            return None
        except Exception as error:  # A thousand flipped bits raised ten kinds, from OSError to tokenize.TokenError.
            _LOGGER.warning("%s is damaged (%s): %s is decoded again.", self.path, error, self.source)
            return None

    def store(self, fingerprint: str, train: Dataset, test: Dataset | None) -> None:
        """Keep the images under ``fingerprint``. Where the cache can't be written, that is logged and no error."""
        arrays = {
            "fingerprint": np.array(fingerprint),
            "source": np.array(str(self.source)),
            "class_names": np.array(train.class_names),
            **_part_arrays(train, "train"),
        }
        if test:
            arrays |= _part_arrays(test, "test")
        try:
            with replacing(self.path) as temporary:
                np.savez(temporary, allow_pickle=False, **arrays)
        except StorageError as error:
            _LOGGER.warning("The decoded images are not kept: %s", error)


def _part_arrays(part: Dataset, prefix: str) -> dict[str, np.ndarray]:
    names = np.array(part.names or (), dtype=str)
    return {f"{prefix}_images": part.images, f"{prefix}_labels": part.labels, f"{prefix}_names": names}


def _stored_part(stored: Mapping[str, np.ndarray], prefix: str, class_names: tuple[str, ...]) -> Dataset:
    names = tuple(str(name) for name in stored[f"{prefix}_names"]) or None
    return Dataset(stored[f"{prefix}_images"], stored[f"{prefix}_labels"], class_names, names)


def decoded_sets() -> dict[Path, str]:
    """The files of the cache's decoded sets, each with the source that it was decoded from."""
    sets = {}
    for path in sorted(decoded_dir().glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                sets[path] = str(stored["source"])
        except Exception:
            sets[path] = "damaged"
    return sets


def clear() -> None:
    """Delete every decoded set and what JAX compiled: what is used again is decoded or compiled again."""
    shutil.rmtree(compiled_dir(), ignore_errors=True)
    for path in decoded_dir().glob("*.npz"):
        path.unlink(missing_ok=True)
