"""HDF5 files as cifarnet writes and reads them: sealed by a checksum, and read as what a stranger may have made.

A sealed file begins with a block of 512 bytes (HDF5's user block, which its readers skip) that says what it is and the
SHA-256 of all that follows; it is checked before libhdf5, which was not made for damaged files, sees a byte. Files
without a seal, those of the original project and of cifarnet 0.1, begin with HDF5's own signature.

Files are built and parsed in memory: what reaches the disk is one plain write, whose failure Python tells, where
libhdf5 fails somewhere in its own buffers, and what is parsed can't change or grow meanwhile.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.files import write_bytes
from cifarnet.json_files import parse

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SEAL = b"cifarnet HDF5\nsha256 "
BLOCK = 512

LARGEST = 256 * 2**20
"""Bytes of the largest file that is read: a checkpoint of ResNet-1202, He et al.'s deepest, has 156 MB."""

# Data pass through these alone when they are read: any other filter is a plugin that libhdf5 would load and run.
_FILTERS = {"gzip", "shuffle", "fletcher32"}
_ATTRIBUTE_LIMIT = 2**22

# What libhdf5 and h5py raise for structures that make no sense; which of them depends on where it is.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)


def write_hdf5(path: Path, fill: Callable[["h5py.File"], None], previous: Path | None = None) -> None:
    """Write the sealed file ``path``, atomically, with what ``fill`` puts into it; see ``files.replacing``.

    Raises:
        StorageError: when the system refuses.
    """
    import h5py

    with h5py.File(path.name, "w", driver="core", backing_store=False, userblock_size=BLOCK) as file:
        fill(file)
        file.flush()
        content = file.id.get_file_image()
    write_bytes(path, _seal(content) + content, previous)


def _seal(content: bytes | memoryview) -> bytes:
    return (SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


@contextmanager
def open_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Open ``path`` for reading, its seal checked.

    Raises:
        WeightsError: when it is missing, too large, not an HDF5 file, or damaged; also where the block stumbles over
            its structure.
    """
    import h5py

    content = _read(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            yield file
    except _DAMAGE as error:
        raise WeightsError(
            f"{path} can't be read as a weight file (HDF5): damaged, cut short or another format. HDF5 says: {error}"
        ) from error


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise WeightsError(f"There is no weight file {path}.")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise WeightsError(f"{path} is no weight file: they have {LARGEST:,} bytes at most. Received: {size:,}")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}.") from error
    if content.startswith(SIGNATURE):
        return content
    if not content.startswith(SEAL):
        raise WeightsError(
            f"{path} is not a weight file (HDF5), or its beginning is damaged."
            f" It begins with {content[:8]!r}{'' if content else ': it is empty'}."
        )
    if content[:BLOCK] != _seal(memoryview(content)[BLOCK:]):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 does not hold. A bit of it has changed since it was written, or it was"
            " cut short. Take another copy, or an earlier checkpoint."
        )
    return content


def read_json(owner: "h5py.File", name: str, path: Path) -> Any:
    """The JSON in the attribute ``name`` of an open file; None when there is none.

    Raises:
        WeightsError: when it is too large or no JSON text.
    """
    import h5py

    if name not in owner.attrs:
        return None
    identifier = h5py.h5a.open(owner.id, name.encode())
    small = identifier.get_storage_size() <= _ATTRIBUTE_LIMIT and identifier.shape == ()
    text = owner.attrs[name] if small else None
    if not isinstance(text, str) or len(text) > _ATTRIBUTE_LIMIT:
        raise WeightsError(f"{path}: the attribute {name} is no text of at most {_ATTRIBUTE_LIMIT:,} bytes.")
    try:
        return parse(text)
    except InvalidValueError as error:
        raise WeightsError(f"{path}: the attribute {name} is no valid JSON: {error}") from error


def read_tensor(file: "h5py.File", address: str, shape: tuple[int, ...], path: Path, kinds: str = "f") -> np.ndarray:
    """Read one tensor of a known ``shape``, refusing anything else that HDF5 could put there.

    HDF5 can point a dataset at any file of the reader (CVE-2026-1669), claim shapes that no memory holds
    (CVE-2026-0897), or name a filter that has to be loaded. Everything is checked before a value is read. ``kinds`` are
    the NumPy kinds of type that are accepted; floating-point comes as float32.

    Raises:
        WeightsError: naming the tensor.
    """
    item = find_dataset(file, address, path)
    try:
        found = item.shape, item.dtype
        filters = set(item._filters)
        ends = item.maxshape
    except _DAMAGE as error:
        raise WeightsError(f"{path}: {address} can't be read: {error}") from error
    if found[0] != shape or found[1].kind not in kinds or found[1].itemsize > 8:
        raise WeightsError(
            f"{path}: {address} should be numbers (of NumPy's kinds {kinds}) with shape {shape}."
            f" Received: {found[1]} {found[0]}"
        )
    # A dataset that could grow may lie in chunks larger than itself.
    if ends != shape or not filters <= _FILTERS:
        raise WeightsError(
            f"{path}: {address} is stored in a way that a weight file has no use for (growing, or by the filters"
            f" {', '.join(sorted(filters)) or 'none'})."
        )
    try:
        array = np.asarray(item[()], np.float32 if found[1].kind == "f" else found[1])
    except _DAMAGE as error:
        raise WeightsError(f"{path}: {address} can't be read: {error}") from error
    if not np.isfinite(array).all():
        raise WeightsError(f"{path}: {address} has values that are not finite numbers.")
    return array


def find_dataset(file: "h5py.File", address: str, path: Path) -> "h5py.Dataset":
    """The dataset at ``address``, whose values lie in the file itself and which no link leads to from elsewhere.

    Raises:
        WeightsError: naming what is missing or is something else.
    """
    import h5py

    item = find(file, address, path)
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise WeightsError(f"{path}: {address} does not hold its values in the file itself, as a weight file must.")
    return item


def find(file: "h5py.File", address: str, path: Path) -> Any:
    """The group or dataset at ``address``, reached over hard links alone: others may lead to other files.

    Raises:
        WeightsError: naming what is missing or is a link.
    """
    import h5py

    item: Any = file
    parts = address.split("/")
    for depth, part in enumerate(parts, 1):
        told = "/".join(parts[:depth])
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise WeightsError(f"{path} lacks the tensor {address}.")
        if not isinstance(link, h5py.HardLink):
            raise WeightsError(f"{path}: {told} is a link to elsewhere, which a weight file must not have.")
        item = item[part]
    return item


def unexpected(file: "h5py.File", known: set[str], prefix: str = "") -> list[str]:
    """Up to three addresses of datasets below ``prefix`` that are not among ``known``.

    More groups and datasets than a file of those could have end the search: what was found last is named then.
    """
    import h5py

    limit = 10 * len(known) + 100
    found: list[str] = []
    seen = 0

    def visit(name: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        address = f"{prefix}/{name}" if prefix else name
        if (isinstance(item, h5py.Dataset) and address not in known) or seen > limit:
            found.append(address if len(address) <= 80 else f"{address[:80]}...")
        return True if len(found) >= 3 or seen > limit else None

    (file[prefix] if prefix else file).visititems(visit)
    return found
