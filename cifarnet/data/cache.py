"""The cache of decoded image folders and archives."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cifarnet.data import arrays
from cifarnet.data.dataset import Dataset, LeftOut, Parts
from cifarnet.data.decoding import image_suffixes
from cifarnet.data.tree import read_tree
from cifarnet.errors import DataError, NoHomeError, StorageError
from cifarnet.fields import typed_fields
from cifarnet.files import is_leftover, remove_leftovers, replacing
from cifarnet.json_files import parse
from cifarnet.paths import cache_dir, duplicates_dir, graphs_dir

_LOGGER = logging.getLogger(__name__)
# Part of every fingerprint. Increase it when decoding changes, so that older entries are not used.
_VERSION = 4

_ARRAYS = {"fingerprint", "source", "class_names", "left_out", "enlarged"}
_SPLITS = ("train", "test", "validation")

# Seconds after which a temporary file counts as abandoned.
_LONGEST_WRITE = 24 * 3600.0


def compiled_dir() -> Path:
    """Return the cache folder of programs that JAX compiled for a GPU."""
    return cache_dir() / "xla"


def decoded_dir() -> Path:
    """Return the cache folder of decoded images."""
    return cache_dir() / "decoded"


@dataclass(frozen=True)
class DecodedSet:
    """The cache entry for the pictures at the absolute path ``source``, at ``image_size`` pixels.

    A source has one entry per image size. A changed source overwrites its entry, so that the cache doesn't grow with
    every change.
    """

    source: Path
    image_size: int

    @property
    def path(self) -> Path:
        """The entry's file, whether or not it exists."""
        key = hashlib.sha256(os.fsencode(f"{self.source}\n{self.image_size}")).hexdigest()[:16]
        return decoded_dir() / f"{key}.npz"

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes when the source changes or would be read differently.

        It covers the name, size, inode, modification time and change time of each file. A file that is replaced by one
        of equal size and modification time has another inode or change time. Links are resolved.

        Raises:
            DataError: when the source can't be listed.
        """
        suffixes = ",".join(sorted(image_suffixes()))
        digest = hashlib.sha256(os.fsencode(f"{_VERSION}\n{self.source}\n{self.image_size}\n{suffixes}\n"))
        # For an archive, the state of the archive file: reading its members is most of the work that the cache saves.
        files = {"": self.source}
        if self.source.is_dir():
            tree = read_tree(self.source)
            digest.update(os.fsencode("\n".join([*sorted(tree.folders), *map(str, tree.left_out)])))
            files = {name: file for name, file in tree.files.items() if isinstance(file, Path)}
        for name, file in files.items():
            digest.update(os.fsencode(f"\n{name}\0{_state(file)}"))
        return digest.hexdigest()

    def load(self, fingerprint: str) -> Parts | None:
        """Return the images stored under ``fingerprint``; None if there are none or the entry is damaged."""
        try:
            # Opened here, because np.load does not close a file that is not a zip.
            with _open(self.path) as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["fingerprint"]) != fingerprint:
                    return None
                splits = {split for split in _SPLITS if f"{split}_images" in stored.files}
                # The checksums of the zip do not cover the names of the arrays.
                expected = _ARRAYS | {f"{split}_{kind}" for split in splits for kind in ("images", "labels", "names")}
                if set(stored.files) != expected:
                    raise DataError(f"it holds {', '.join(stored.files)}")
                names = tuple(str(name) for name in stored["class_names"])
                images = {split: arrays.stored(stored, f"{split}_images", file) for split in splits}
                datasets = {split: _stored_part(stored, split, images[split], names) for split in splits}
                left_out, enlarged = _left_out(str(stored["left_out"])), int(stored["enlarged"])
                return Parts(datasets["train"], datasets.get("test"), datasets.get("validation"), left_out, enlarged)
        except (FileNotFoundError, NoHomeError):
            return None
        except Exception as error:  # Flipped bits raise many types, from OSError to tokenize.TokenError.
            _LOGGER.warning("%s is damaged (%s): %s is decoded again.", self.path, error, self.source)
            return None

    def store(self, fingerprint: str, parts: Parts) -> None:
        """Store the images under ``fingerprint``. A cache that can't be written is logged, not an error."""
        content = {
            "fingerprint": np.array(fingerprint),
            "source": np.array(str(self.source)),
            "class_names": np.array(parts.train.class_names),
            "enlarged": np.array(parts.enlarged),
            "left_out": np.array(json.dumps([astuple(left) for left in parts.left_out])),
        }
        for split in _SPLITS:
            if (dataset := getattr(parts, split)) is not None:
                content |= _part_arrays(dataset, split)
        try:
            remove_leftovers(self.path.parent, _LONGEST_WRITE)
            with replacing(self.path) as temporary:
                np.savez(temporary, allow_pickle=False, **content)
        except (StorageError, NoHomeError) as error:
            _LOGGER.warning("The decoded images are not cached: %s", error)


def _open(path: Path) -> BinaryIO:
    # Opening a named pipe would wait for its writer.
    if os.path.lexists(path) and not os.path.isfile(path):
        raise DataError("it is not a regular file")
    return path.open("rb")


def _left_out(text: str) -> tuple[LeftOut, ...]:
    names = [field.name for field in fields(LeftOut)]
    facts = [dict(zip(names, values, strict=True)) for values in parse(text)]
    return tuple(LeftOut(**typed_fields(LeftOut, fact, "A kind of files")) for fact in facts)


def _state(file: Path) -> str:
    """Return a text that changes when the content of ``file`` or of its link target changes."""
    try:
        state = file.stat()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return f"{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}\0{state.st_ino}"


def _part_arrays(part: Dataset, prefix: str) -> dict[str, np.ndarray]:
    # Not an array of texts, in which each would take as much as the longest.
    names = np.frombuffer("\0".join(part.names or ()).encode(errors="surrogatepass"), np.uint8)
    return {f"{prefix}_images": part.images, f"{prefix}_labels": part.labels, f"{prefix}_names": names}


def _stored_part(
    stored: Mapping[str, np.ndarray], prefix: str, images: np.ndarray, class_names: tuple[str, ...]
) -> Dataset:
    text = stored[f"{prefix}_names"].tobytes().decode(errors="surrogatepass")
    names = tuple(text.split("\0")) if text else None
    return Dataset(images, stored[f"{prefix}_labels"], class_names, names)


def decoded_sets() -> dict[Path, str]:
    """Return the files of decoded images in the cache, each with its source."""
    sets = {}
    for path in sorted(decoded_dir().glob("*.npz")):
        if is_leftover(path):
            continue
        try:
            with _open(path) as file, np.load(file, allow_pickle=False) as stored:
                sets[path] = str(stored["source"])
        except Exception:
            sets[path] = "damaged"
    return sets


def clear() -> None:
    """Delete all decoded images, near-duplicates, ONNX graphs and compiled programs.

    They are created again when needed.
    """
    for folder in (compiled_dir(), graphs_dir(), duplicates_dir()):
        shutil.rmtree(folder, ignore_errors=True)
    for path in decoded_dir().glob("*.npz"):
        path.unlink(missing_ok=True)
