"""Arrays of images in memory, or in files on disk when they are large."""

import math
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from cifarnet.backend import memory
from cifarnet.errors import DataError, StorageError
from cifarnet.paths import cache_dir

_CHUNK_BYTES = 64 << 20
# Of a member's header in a zip file: its size, and where the lengths of the name and of the extra field are.
_HEADER, _LENGTHS = 30, slice(26, 30)


def is_large(shape: tuple[int, ...], itemsize: int = 1) -> bool:
    """Return whether an array of this shape is kept on disk (``cifarnet.backend.memory.array_limit``)."""
    return _bytes(shape, itemsize) > memory.array_limit()


def empty(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    """Return an array to be filled: in memory, or in a file of the cache folder when it is large.

    The file has no name, so that it is deleted with the process.

    Raises:
        StorageError: when the disk has no space for it.
    """
    itemsize = np.dtype(dtype).itemsize
    if not is_large(shape, itemsize):
        return np.empty(shape, dtype)
    folder, needed = cache_dir(), _bytes(shape, itemsize)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file, needed)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        advice = (
            f" {needed / 1e9:,.1f} GB of images are kept there, because they are more than"
            f" {memory.array_limit() / 1e9:,.1f} GB. Free some space, or give a smaller `image_size`."
        )
        raise StorageError(folder, error, advice) from error


def _bytes(shape: tuple[int, ...], itemsize: int) -> int:
    return itemsize * math.prod(map(int, shape))


def _allocate(file: Any, needed: int) -> None:
    """Reserve space on the disk. Without it, writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, needed)
        return
    if shutil.disk_usage(cache_dir()).free < needed:
        raise OSError(28, "No space left on device")
    file.truncate(needed)


def taken(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the ``rows`` of ``images`` as a new array, on disk if it is large."""
    found = empty((len(rows), *images.shape[1:]), images.dtype)
    for part in _parts(len(rows), images):
        found[part] = images[rows[part]]
    return found


def _parts(count: int, images: np.ndarray) -> Iterator[slice]:
    step = max(1, _CHUNK_BYTES // max(1, _bytes(images.shape[1:], images.dtype.itemsize)))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def stored(archive: Any, name: str, file: BinaryIO) -> np.ndarray:
    """Return the array ``name`` of an opened .npz ``archive``: in memory, or mapped from the file if it is large.

    Args:
        archive: what ``np.load`` returns.
        name: the name of the array.
        file: the file that the archive was read from.

    Raises:
        DataError: when a large array is compressed.
        zipfile.BadZipFile: when the checksum of the array is wrong.
    """
    member = archive.zip.getinfo(f"{name}.npy")
    if member.file_size <= memory.array_limit():
        array: np.ndarray = archive[name]
        return array
    if member.compress_type != zipfile.ZIP_STORED:
        raise DataError(f"{name} is compressed")
    with archive.zip.open(member) as content:  # At its end the checksum is compared.
        while content.read(_CHUNK_BYTES):
            pass
    file.seek(member.header_offset)
    lengths = struct.unpack("<HH", file.read(_HEADER)[_LENGTHS])
    file.seek(member.header_offset + _HEADER + sum(lengths))
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(file, dtype, "r", offset=file.tell(), shape=shape)
