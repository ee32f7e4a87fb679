"""Changing weight files as a stranger would, who knows how to seal them again."""

from collections.abc import Callable
from pathlib import Path

import h5py

from cifarnet import hdf5


def edit(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Let ``change`` have its way with the file at ``path``, sealed or not."""
    with h5py.File(path, "r+") as file:
        change(file)
    content = path.read_bytes()
    if not content.startswith(hdf5.SIGNATURE):
        path.write_bytes(hdf5._seal(content[hdf5.BLOCK :]) + content[hdf5.BLOCK :])
