"""Files of each kind with a bit flipped or an end cut off: whatever changes their content must be noticed and named."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet.data.cache import DecodedSet
from cifarnet.data.dataset import Parts
from cifarnet.data.sources import load_data
from cifarnet.errors import CifarnetError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.training.checkpoint import load_checkpoint, save_checkpoint
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.datasets import fill, image_folder, tar_of, zip_of
from tests.support.faults.saves import checkpoint
from tests.support.runs import run_config


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``make`` one in a folder, and what ``read`` finds in it, as bytes that can be compared."""

    make: Callable[[Path], Path]
    read: Callable[[Path], bytes]


def _digest(*arrays: np.ndarray) -> bytes:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.digest()


def _make_checkpoint(folder: Path) -> Path:
    save_checkpoint(folder / "checkpoint.h5", checkpoint(3))
    return folder / "checkpoint.h5"


def _read_checkpoint(path: Path) -> bytes:
    found = load_checkpoint(path)
    arrays = [*found.weights.tensors.values(), *found.optimizer, *found.metrics]
    return f"{found.train_state} {found.weights.header()}".encode() + _digest(*arrays)


def _make_weights(folder: Path) -> Path:
    save_weights(folder / "weights.h5", checkpoint(3).weights)
    return folder / "weights.h5"


def _read_weights(path: Path) -> bytes:
    found = load_weights(path)
    return str(found.header()).encode() + _digest(*found.tensors.values())


def _make_config(folder: Path) -> Path:
    files.write_config(folder, run_config(RECIPES["fast"], data_sha256="ab" * 32).to_dict())
    return folder / files.CONFIG


def _read_config(path: Path) -> bytes:
    return str(Run(path.parent).config.to_dict()).encode()


def _entry(folder: Path) -> DecodedSet:
    return DecodedSet((folder / "images").absolute(), 32)


def _make_decoded(folder: Path) -> Path:
    root = fill(image_folder(folder / "images"), "val/cat", "val/dog", "train")
    splits = load_data(str(root))
    assert splits.left_out
    _entry(folder).store("fingerprint", Parts(splits.train, splits.test, splits.validation, splits.left_out))
    return _entry(folder).path


def _read_decoded(folder: Path) -> Callable[[Path], bytes]:
    def read(path: Path) -> bytes:
        with _Warnings() as warnings:
            found = _entry(folder).load("fingerprint")
        if found is None:
            raise CifarnetError(" ".join(warnings.messages))
        arrays = [
            array
            for dataset in (found.train, found.test, found.validation)
            if dataset is not None
            for array in (dataset.images, dataset.labels)
        ]
        return str((found.train.class_names, found.left_out)).encode() + _digest(*arrays)

    return read


class _Warnings(logging.Handler):
    """What the cache warns of: a damaged entry is decoded again, which is no error."""

    def __enter__(self) -> "_Warnings":
        self.messages: list[str] = []
        logging.getLogger("cifarnet.data.cache").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("cifarnet.data.cache").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _make_archive(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        images = image_folder(folder / "images")
        if name.endswith(".zip"):
            return zip_of(images, folder / name)
        return tar_of(images, folder / name, mode=f"w:{name.rpartition('.')[2]}")

    return make


def _read_archive(path: Path) -> bytes:
    # A cached copy would hide what has happened to the archive.
    DecodedSet(path, 32).path.unlink(missing_ok=True)
    splits = load_data(str(path))
    arrays = (splits.train.images, splits.train.labels, splits.test.images, splits.test.labels)
    return str(splits.train.class_names).encode() + _digest(*arrays)


def kinds(folder: Path) -> dict[str, Kind]:
    """The kinds of files that a run reads; ``folder`` is where those of the cache look for their images."""
    archives = {f"archive ({name})": name for name in ("images.tar.gz", "images.tar.xz", "images.zip")}
    return {
        "checkpoint": Kind(_make_checkpoint, _read_checkpoint),
        "weights": Kind(_make_weights, _read_weights),
        "config.json": Kind(_make_config, _read_config),
        "decoded images": Kind(_make_decoded, _read_decoded(folder)),
        **{kind: Kind(_make_archive(name), _read_archive) for kind, name in archives.items()},
    }


def damage(kind: Kind, folder: Path, flips: int, cuts: int, seed: int = 0) -> Counter[str]:
    """Flip ``flips`` single bits and cut ``cuts`` times; how many were ``noticed``, ``harmless`` or ``missed``.

    ``harmless`` is what changes nothing that is read (the time in an archive's header, say). Noticed without the file's
    name counts as ``unnamed``; anything but a ``CifarnetError`` is raised.
    """
    path = kind.make(folder)
    content = path.read_bytes()
    wanted = kind.read(path)
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    damaged = []
    for position in rng.integers(0, 8 * len(content), flips):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    damaged += [content[:length] for length in rng.integers(0, len(content), cuts)]
    for changed in damaged:
        path.write_bytes(changed)
        try:
            counts["harmless" if kind.read(path) == wanted else "missed"] += 1
        except CifarnetError as error:
            counts["noticed" if path.name in str(error) else "unnamed"] += 1
    path.write_bytes(content)
    return counts
