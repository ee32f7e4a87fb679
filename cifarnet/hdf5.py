"""HDF5 files of weights and checkpoints, with a checksum.

A sealed file begins with a block of 512 bytes that holds the SHA-256 of the rest of the file. HDF5 calls it the user
block, and its readers skip it. Files of the original project and of cifarnet 0.1 have no seal and begin with HDF5's
signature.

h5py writes the files. ``cifarnet.hdf5_parser`` reads them without libhdf5, because a file may come from a stranger, who
can compute the seal too.
"""

import hashlib
import math
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.files import write_bytes
from cifarnet.hdf5_parser import SIGNATURE, TEXT_LIMIT, Contents, FormatError, StoredArray, parse_hdf5
from cifarnet.json_files import parse

if TYPE_CHECKING:
    import h5py

SEAL = b"cifarnet HDF5\nsha256 "
BLOCK = 512

LARGEST = 256 * 2**20
"""The most bytes of a file that is read. A checkpoint of ResNet-1202, the deepest of He et al., has 156 MB."""


def write_hdf5(path: Path, fill: Callable[["h5py.File"], None], previous: Path | None = None) -> None:
    """Write the sealed file ``path`` atomically (see ``files.replacing``).

    The file is built in memory and written at once, so that a full disk gives a clear error. libhdf5 would fail inside
    its own buffers.

    Args:
        path: the file.
        fill: stores the contents in the open HDF5 file.
        previous: where an existing file is moved to; by default it is replaced.

    Raises:
        StorageError: when the file can't be written.
        WeightsError: when ``fill`` stores something that ``read_hdf5`` would refuse. Nothing is written then.
    """
    write_bytes(path, hdf5_content(path, fill), previous)


def hdf5_content(path: Path, fill: Callable[["h5py.File"], None]) -> bytes:
    """Return the content of the sealed file ``path``, which ``fill`` stores in an open HDF5 file.

    Raises:
        WeightsError: as ``write_hdf5``.
    """
    import h5py

    with h5py.File(path.name, "w", libver="earliest", driver="core", backing_store=False, userblock_size=BLOCK) as file:
        fill(file)
        file.flush()
        content = file.id.get_file_image()
    sealed = _seal(content) + content
    # A later HDF5 library could use another layout. Find out now, not when the file is needed.
    if too_long := _parse(sealed, path).too_long():
        raise WeightsError(f"{path} is not written: its {listed(too_long)} has more than {TEXT_LIMIT:,} bytes.")
    return sealed


def _seal(content: bytes | memoryview) -> bytes:
    return (SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


@dataclass(frozen=True)
class Hdf5File:
    """A parsed file.

    Attributes:
        path: the file.
        contents: its arrays, groups and attributes.
    """

    path: Path
    contents: Contents = field(repr=False)
    _bytes: bytes = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the root group."""
        return self.contents.names

    @property
    def datasets(self) -> dict[str, StoredArray]:
        """The arrays by path (``weights/conv2d/kernel``)."""
        return self.contents.datasets

    @property
    def empty(self) -> tuple[str, ...]:
        """The paths of the groups without members."""
        return self.contents.empty

    def too_long(self) -> list[str]:
        """Return the names of the attributes that are too long for ``json``."""
        return [name for name, text in self.contents.texts.items() if text is None]

    def json(self, name: str) -> Any:
        """Return the parsed JSON of the root's attribute ``name``, or None when there is no such attribute.

        Raises:
            WeightsError: when the attribute is not JSON text.
        """
        if name not in self.contents.texts:
            return None
        text = self.contents.texts[name]
        if text is None:
            raise WeightsError(f"{self.path}: the attribute {name} is not a text of at most {TEXT_LIMIT:,} bytes.")
        try:
            return parse(text)
        except InvalidValueError as error:
            raise WeightsError(f"{self.path}: the attribute {name} is not valid JSON: {error}") from error

    def tensor(self, address: str, shape: tuple[int, ...], kinds: str = "f") -> np.ndarray:
        """Return a copy of the array at ``address``, with floating-point numbers as float32.

        Args:
            address: the path in the file.
            shape: the expected shape.
            kinds: the accepted kinds of ``numpy.dtype.kind``.

        Raises:
            WeightsError: when there is no such array, or it has another shape, kind or non-finite values.
        """
        stored = self.numbers(address, shape, kinds)
        with np.errstate(over="ignore"):  # A float64 that is too large for float32 becomes infinite.
            array = stored.astype(np.float32 if stored.dtype.kind == "f" else stored.dtype)
        if not np.isfinite(array).all():
            raise WeightsError(f"{self.path}: {address} has non-finite values.")
        return array

    def numbers(self, address: str, shape: tuple[int, ...], kinds: str) -> np.ndarray:
        """Return a read-only view of the array at ``address`` in its stored type (see ``tensor``)."""
        array = self.datasets.get(address)
        if array is None:
            raise WeightsError(f"{self.path} lacks the tensor {address}.")
        if array.shape != shape or array.dtype.kind not in kinds:
            raise WeightsError(
                f"{self.path}: {address} must be numbers of NumPy's kinds {kinds} with shape {shape}."
                f" Received: {array.dtype} {array.shape}"
            )
        return np.frombuffer(self._bytes, array.dtype, math.prod(shape), array.offset).reshape(shape)


def read_hdf5(path: Path) -> Hdf5File:
    """Read the file ``path``, check its seal and parse it.

    Raises:
        WeightsError: when it is missing, too large, damaged, or not an HDF5 file of the supported subset.
    """
    content = read_content(path)
    _require_intact(content, path)
    return _parse(content, path)


def read_content(path: Path) -> bytes:
    """Return the content of the weight file ``path`` in any format.

    Raises:
        WeightsError: when it is missing, not a regular file, too large, or can't be read.
    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(f"There is no weight file {path}.") from error
    except (OSError, ValueError) as error:  # A parent folder without permission, or an invalid name.
        raise WeightsError(f"{path} can't be read: {getattr(error, 'strerror', error)}.") from error
    if not stat.S_ISREG(state.st_mode):
        raise WeightsError(f"{path} is not a weight file: it is not a regular file.")
    if state.st_size > LARGEST:
        raise WeightsError(
            f"{path} is too large for a weight file, which has at most {LARGEST:,} bytes. Received: {state.st_size:,}"
        )
    try:
        with path.open("rb") as file:
            return file.read(state.st_size)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}.") from error


def _require_intact(content: bytes, path: Path) -> None:
    if content.startswith(SIGNATURE):
        return
    if not content.startswith(SEAL):
        raise WeightsError(
            f"{path} is not a weight file (HDF5), or its beginning is damaged."
            f" It begins with {content[:8]!r}{'' if content else ': it is empty'}."
        )
    if content[:BLOCK] != _seal(memoryview(content)[BLOCK:]):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 does not match. It was changed or cut short after it was written."
            " Use another copy, or an earlier checkpoint."
        )


def _parse(content: bytes, path: Path) -> Hdf5File:
    try:
        contents = parse_hdf5(content, 0 if content.startswith(SIGNATURE) else BLOCK)
    except FormatError as error:
        raise WeightsError(
            f"{path} can't be read as a weight file (HDF5): it is damaged, or was not written by cifarnet. {error}."
        ) from error
    return Hdf5File(path, contents, content)
