"""Data sources of each kind, mutated: ``load_data`` must read or refuse each, soon and in bounded memory.

A process of its own reads them, so that a crash or a hang is seen and counted:

    python -m tests.support.faults.mutants KIND COUNT SEED

prints, as JSON, how many were read and refused, the longest time in seconds, and the process's peak memory in MB.
"""

import io
import json
import pickle
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifarnet.data.images import read_image
from cifarnet.data.npz import read_npz
from cifarnet.data.official import read_python
from cifarnet.data.progress import silent
from cifarnet.data.tree import FileTree, read_tree
from cifarnet.errors import CifarnetError
from tests.support.faults.apart import fuzz_apart
from tests.support.faults.hostile import NPZS, PICKLES, TARS, ZIPS
from tests.support.faults.memory import peak_memory
from tests.support.faults.pictures import mutated, seeds

SLOWEST = 10.0
"""Seconds that one file may take."""
MOST_MEMORY = 1000
"""MB that the process that reads them may take."""
_LARGEST = 20_000
"""Bytes of a file that is mutated."""

_NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def _read_pickle(path: Path) -> None:
    content = path.read_bytes()
    read_python(FileTree(path, dict.fromkeys(_NAMES, content), frozenset()), 32, silent)


def _read_archive(path: Path) -> None:
    tree = read_tree(path)
    for name in tree.files:
        tree.read(name)


def _read_npz(path: Path) -> None:
    read_npz(read_tree(path), 32, silent)


def _read_picture(path: Path) -> None:
    read_image(path)


def _pickles() -> list[bytes]:
    batch = {b"data": np.zeros((3, 3072), np.uint8), b"labels": [1, 2, 3], b"filenames": [b"a.png", b"b.png", b"c.png"]}
    arrays = {"data": np.ones((2, 3072), np.uint8), "labels": np.array([1, 2]), "batch_label": "one of two"}
    return [pickle.dumps(each, protocol) for each in (batch, arrays) for protocol in range(6)]


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()


def _tars() -> list[bytes]:
    found = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode=mode, format=kind) as archive:
                for name in ("train/cat/0.png", f"train/{'long/' * 15}dog/1.png", "train/dog/2.png"):
                    info = tarfile.TarInfo(name)
                    info.size = len(_png())
                    archive.addfile(info, io.BytesIO(_png()))
                link = tarfile.TarInfo("test")
                link.type, link.linkname = tarfile.SYMTYPE, "train"
                archive.addfile(link)
            found.append(file.getvalue())
    return found


def _zips() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("train/cat/0.png", "train/dog/1.png", "train/\u00e4pfel/2.png"):
                archive.writestr(name, _png() * 3)
        found.append(file.getvalue())
    return found


def _npzs() -> list[bytes]:
    images, names = np.zeros((4, 8, 8, 3), np.uint8), np.array(["cat", "dog"])
    found = []
    for save in (np.savez, np.savez_compressed):
        for labels in (np.array([0, 1, 0, 1]), np.array(["cat", "dog", "cat", "dog"]), np.eye(2)[[0, 1, 0, 1]]):
            file = io.BytesIO()
            save(file, x_train=images, y_train=labels, class_names=names)
            found.append(file.getvalue())
    return found


def _small(crafted: dict[str, tuple[bytes, str]]) -> list[bytes]:
    return [content for content, _ in crafted.values() if len(content) < _LARGEST]


@dataclass(frozen=True)
class Kind:
    """What reads a kind of file, what makes good files of it, and crafted files, whose neighbours may hurt too."""

    read: Callable[[Path], None]
    good: Callable[[], list[bytes]]
    crafted: tuple[bytes, ...] = ()


KINDS = {
    "pickle": Kind(_read_pickle, _pickles, tuple(_small(PICKLES))),
    "tar": Kind(_read_archive, _tars, tuple(_small(TARS))),
    "zip": Kind(_read_archive, _zips, tuple(_small(ZIPS))),
    "npz": Kind(_read_npz, _npzs, tuple(_small(NPZS))),
    "tiff": Kind(_read_picture, lambda: [content for content in seeds() if content[:2] in (b"II", b"MM")]),
}


def read_mutants(kind: str, count: int, seed: int) -> dict[str, float]:
    """Read ``count`` mutated files of ``kind`` in this process."""
    rng, good, crafted = np.random.default_rng(seed), KINDS[kind].good(), KINDS[kind].crafted
    originals = [*good, *crafted]
    counts = {"read": 0, "refused": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        for index in range(count):
            of = crafted if crafted and index % 4 == 3 else good
            path.write_bytes(mutated(of[index % len(of)], originals, rng))
            started = time.monotonic()
            try:
                KINDS[kind].read(path)
                counts["read"] += 1
            except CifarnetError:
                counts["refused"] += 1
            slowest = max(slowest, time.monotonic() - started)
    return {**counts, "slowest": slowest, "peak": peak_memory() / 1e6}


def fuzz(kind: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Run ``read_mutants`` in a process of its own.

    Raises:
        AssertionError: when that crashed, hung, took too much memory or let an error through; kind, count and seed
            repeat it.
    """
    answer = fuzz_apart("mutants", (kind, count, seed), 120 + count * 0.05, SLOWEST)
    assert answer["peak"] < MOST_MEMORY, f"{kind}, seed {seed}: {answer}"
    return answer


if __name__ == "__main__":
    print(json.dumps(read_mutants(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
