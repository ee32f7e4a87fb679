"""Weight files and checkpoints, mutated and sealed anew: each must be read or refused, soon and in little memory.

A process of its own reads them, so that a crash or a hang is seen and counted:

    python -m tests.support.faults.mutated KIND COUNT SEED

prints, as JSON, how many were read and refused, the longest time and the peak memory.
"""

import json
import logging
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cifarnet import hdf5
from cifarnet.errors import WeightsError
from cifarnet.models.spec import ModelSpec
from cifarnet.training.checkpoint import load_checkpoint, save_checkpoint
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.formats.layouts import LAYOUTS
from tests.support.checkpoints import arrays_of, safetensors_file, state_dict, torch_file
from tests.support.checkpoints import checkpoint as checkpoint_of
from tests.support.faults.apart import fuzz_apart
from tests.support.faults.memory import peak_memory
from tests.support.faults.saves import checkpoint

SLOWEST = 5.0
"""Seconds that one file may take."""
MEMORY = 2**30
"""Bytes that the process may take."""
COUNTS = {"weights": 1000, "checkpoint": 1000, "original": 1000, "torch": 1000, "safetensors": 1000}
"""How many of each kind a test tries."""

# Lengths, counts and addresses that programs have stumbled over.
_NUMBERS = [0, 1, 2, 7, 8, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def _original(path: Path) -> None:
    """Write a file in the layout of the original project, which has no seal."""
    with h5py.File(path, "w") as file:
        for name, values in checkpoint(3).weights.tensors.items():
            file[f"{name.split('/')[0]}/{name}:0"] = values
        file.create_group("activation").attrs["weight_names"] = np.zeros(0)


def _foreign(kind: str, rng: np.random.Generator) -> Callable[[], bytes]:
    """Return a function that makes a mutated file of ``kind``: a checkpoint of PyTorch, or a safetensors file."""
    layout, spec = LAYOUTS[0], ModelSpec("resnet8-v1")
    arrays = arrays_of(layout, spec)
    pickled, storages = state_dict(arrays)
    data = b"".join(array.tobytes() for array in arrays.values())
    whole = torch_file(arrays) if kind == "torch" else safetensors_file(arrays)

    def make() -> bytes:
        if kind == "safetensors":
            header = whole[: -len(data)]
            if rng.random() < 0.9:
                return mutated(header, np.arange(len(header)), rng) + data
            return header + mutated(data, np.arange(len(data)), rng)
        if rng.random() < 0.5:  # With checksums that fit.
            return checkpoint_of(mutated(pickled, np.arange(len(pickled)), rng), storages)
        directory = np.arange(whole.index(b"PK\x01\x02"), len(whole))
        return mutated(whole, np.concatenate([np.arange(100), directory]), rng)

    return make


def originals(kind: str, path: Path) -> tuple[bytes, Callable[[Path], Any]]:
    """Return the content of a good file of ``kind``, and the function that reads it."""
    state = checkpoint(3)
    if kind == "checkpoint":
        whole = replace(state, optimizer=[np.array(3), *state.optimizer[:3]], metrics=[np.float32(0.5)] * 4)
        save_checkpoint(path, whole)
        return path.read_bytes(), load_checkpoint
    if kind == "weights":
        save_weights(path, state.weights, half=True)
    else:
        _original(path)
    return path.read_bytes(), load_weights


def structure_of(content: bytes, file: hdf5.Hdf5File) -> np.ndarray:
    """Return the positions of the bytes that are no values of a dataset and not zero, or lie beside such a byte."""
    inside = np.ones(len(content), bool)
    for dataset in file.datasets.values():
        inside[dataset.offset : dataset.end] = False
    used = np.frombuffer(content, np.uint8) != 0
    return np.flatnonzero(inside & np.convolve(used, np.ones(9), "same").astype(bool))


def mutated(content: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    """Return ``content`` after one to four mutations of its structure, sealed anew where it was sealed."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        place = min(int(rng.choice(places)), len(data) - 1)
        kind = rng.integers(6)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place] = int(rng.integers(256))
        elif kind == 2:
            size = int(rng.choice([1, 2, 4, 8]))
            number = _NUMBERS[int(rng.integers(len(_NUMBERS)))] % 2 ** (8 * size)
            data[place : place + size] = number.to_bytes(size, "little")
        elif kind == 3:  # The address of something else.
            start = place // 8 * 8
            data[start : start + 8] = struct.pack("<Q", int(rng.choice(places)) // 8 * 8)
        elif kind == 4:
            other, size = int(rng.choice(places)), int(rng.integers(1, 60))
            data[place : place + size] = data[other : other + size]
        else:
            del data[place : place + int(rng.integers(1, 40))]
    if not content.startswith(hdf5.SEAL):
        return bytes(data)
    return hdf5._seal(data[hdf5.BLOCK :]) + data[hdf5.BLOCK :]


def _makers(kind: str, path: Path, rng: np.random.Generator) -> tuple[Callable[[], bytes], Callable[[Path], Any]]:
    """Return a function that makes a mutated file of ``kind``, and the one that reads it."""
    if kind in ("torch", "safetensors"):
        return _foreign(kind, rng), load_weights
    content, read = originals(kind, path)
    places = structure_of(content, hdf5.read_hdf5(path))
    return lambda: mutated(content, places, rng), read


def read_mutated(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Read ``count`` mutated files in this process."""
    rng = np.random.default_rng(seed)
    logging.disable()  # Each file says what is assumed.
    counts = {"read": 0, "refused": 0, "unnamed": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.h5"
        make, read = _makers(kind, path, rng)
        for _ in range(count):
            path.write_bytes(make())
            started = time.monotonic()
            try:
                found = read(path)
                weights = getattr(found, "weights", found)
                assert all(np.isfinite(tensor).all() for tensor in weights.tensors.values())
                counts["read"] += 1
            except WeightsError as error:
                counts["refused" if str(path) in str(error) else "unnamed"] += 1
            slowest = max(slowest, time.monotonic() - started)
    return {**counts, "slowest": slowest, "peak": peak_memory()}


def fuzz(kind: str, count: int, seed: int = 0) -> dict[str, Any]:
    """``read_mutated`` in a process of its own.

    Raises:
        AssertionError: when that crashed, hung, took too much or let an error through; seed and count repeat it.
    """
    answer = fuzz_apart("mutated", (kind, count, seed), 60 + count * 0.1, SLOWEST)
    assert answer.pop("unnamed") == 0, f"seed {seed}: {answer}"
    return answer


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(read_mutated(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
