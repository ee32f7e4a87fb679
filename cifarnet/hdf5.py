"""HDF5 files as cifarnet writes and reads them: one simple layout, sealed by a checksum.

A sealed file begins with a block of 512 bytes (HDF5's user block, which its readers skip) with the SHA-256 of all that
follows. Files without a seal, those of the original project and of cifarnet 0.1, begin with HDF5's own signature.

Files are written by h5py and parsed here, by the HDF5 File Format Specification Version 3.0
(https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html). A stranger can compute the seal too, and libhdf5
is not made for hostile files: one wrong byte can make it loop for ever, and ten compressed numbers can take all memory.
h5py 2.9 to 3.16 lay out small, plain files in the same way, so a small part of the specification is enough:
version 0 of the superblock, groups with symbol tables, and numbers that lie uncompressed in one piece. Anything else is
refused. No filter, link, or reference to another file is followed. The time is limited by the number of structures that
are read, the memory by the size of the file.
"""

import hashlib
import math
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.files import write_bytes
from cifarnet.json_files import parse

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SEAL = b"cifarnet HDF5\nsha256 "
BLOCK = 512

LARGEST = 256 * 2**20
"""Bytes of the largest file that is read: a checkpoint of ResNet-1202, He et al.'s deepest, has 156 MB."""

_STRUCTURES = 2**19
"""Structures of 64 bytes that are read of one file: a checkpoint of ResNet-1202 has 192,000."""
_ADDRESS_LIMIT = 200
"""Characters of the longest address of a dataset."""
_TEXT_LIMIT = 2**22
"""Bytes of the longest text in an attribute."""
_SIDES = 8
"""Dimensions of a dataset; a convolution's kernel has 4."""


def write_hdf5(path: Path, fill: Callable[["h5py.File"], None], previous: Path | None = None) -> None:
    """Write the sealed file ``path``, atomically, with what ``fill`` puts into it; see ``files.replacing``.

    The file is built in memory: the one plain write that reaches the disk reports a full disk, where libhdf5 fails
    somewhere in its own buffers.

    Raises:
        StorageError: when the system refuses.
        WeightsError: when ``fill`` stores something in a way that ``read_hdf5`` refuses; nothing is written then.
    """
    import h5py

    with h5py.File(path.name, "w", libver="earliest", driver="core", backing_store=False, userblock_size=BLOCK) as file:
        fill(file)
        file.flush()
        content = file.id.get_file_image()
    sealed = _seal(content) + content
    # A later HDF5 library could lay files out in another way: better found now than when the file is needed.
    if too_long := _parse(sealed, path).too_long():
        raise WeightsError(f"{path} is not written: its {listed(too_long)} takes more than {_TEXT_LIMIT:,} bytes.")
    write_bytes(path, sealed, previous)


def _seal(content: bytes | memoryview) -> bytes:
    return (SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


@dataclass(frozen=True)
class Dataset:
    """Numbers that lie in one piece in a file, ``offset`` bytes from its beginning."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def end(self) -> int:
        """The offset of the first byte behind it."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Hdf5File:
    """A parsed file.

    ``names`` are those in its root; ``datasets`` has the address of each (``weights/conv2d/kernel``); ``empty`` are the
    addresses of groups without members.
    """

    path: Path
    names: tuple[str, ...]
    datasets: dict[str, Dataset]
    empty: tuple[str, ...]
    _texts: dict[str, bytes | None] = field(repr=False)
    _content: bytes = field(repr=False)

    def too_long(self) -> list[str]:
        """Return the names of attributes that ``json`` refuses for their size."""
        return [name for name, text in self._texts.items() if text is None]

    def json(self, name: str) -> Any:
        """Return the JSON in the root's attribute ``name``; None when there is no such attribute.

        Raises:
            WeightsError: when it is no JSON text.
        """
        if name not in self._texts:
            return None
        text = self._texts[name]
        if text is None:
            raise WeightsError(f"{self.path}: the attribute {name} is no text of at most {_TEXT_LIMIT:,} bytes.")
        try:
            return parse(text)
        except InvalidValueError as error:
            raise WeightsError(f"{self.path}: the attribute {name} is no valid JSON: {error}") from error

    def tensor(self, address: str, shape: tuple[int, ...], kinds: str = "f") -> np.ndarray:
        """Return a copy of the finite numbers at ``address``; floating-point numbers as float32.

        Args:
            address: the place in the file.
            shape: the shape that they must have.
            kinds: NumPy's kinds of type that are accepted.

        Raises:
            WeightsError: naming the address.
        """
        stored = self.numbers(address, shape, kinds)
        with np.errstate(over="ignore"):  # A float64 too large for float32 becomes infinite.
            array = stored.astype(np.float32 if stored.dtype.kind == "f" else stored.dtype)
        if not np.isfinite(array).all():
            raise WeightsError(f"{self.path}: {address} has values that are not finite numbers.")
        return array

    def numbers(self, address: str, shape: tuple[int, ...], kinds: str) -> np.ndarray:
        """Return the numbers at ``address`` as they are stored, read-only; see ``tensor``."""
        dataset = self.datasets.get(address)
        if dataset is None:
            raise WeightsError(f"{self.path} lacks the tensor {address}.")
        if dataset.shape != shape or dataset.dtype.kind not in kinds:
            raise WeightsError(
                f"{self.path}: {address} should be numbers (of NumPy's kinds {kinds}) with shape {shape}."
                f" Received: {dataset.dtype} {dataset.shape}"
            )
        return np.frombuffer(self._content, dataset.dtype, math.prod(shape), dataset.offset).reshape(shape)


def read_hdf5(path: Path) -> Hdf5File:
    """Read and parse the file ``path``, its seal checked.

    Raises:
        WeightsError: when it is missing, too large, not an HDF5 file of the layout above, or damaged.
    """
    return _parse(_read(path), path)


def _read(path: Path) -> bytes:
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(f"There is no weight file {path}.") from error
    except (OSError, ValueError) as error:  # Beyond a folder without permission, or no possible name.
        raise WeightsError(f"{path} can't be read: {getattr(error, 'strerror', error)}.") from error
    if not stat.S_ISREG(state.st_mode):
        raise WeightsError(f"{path} is no weight file: it is not a regular file.")
    if state.st_size > LARGEST:
        raise WeightsError(
            f"{path} is no weight file: they have {LARGEST:,} bytes at most. Received: {state.st_size:,}"
        )
    try:
        with path.open("rb") as file:
            content = file.read(state.st_size)
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


def _parse(content: bytes, path: Path) -> Hdf5File:
    parser = _Parser(content, 0 if content.startswith(SIGNATURE) else BLOCK)
    try:
        return Hdf5File(path, *parser.tree(parser.superblock()), content)
    except _UnusualError as error:
        raise WeightsError(
            f"{path} can't be read as a weight file (HDF5): it is damaged, or was not written by cifarnet. {error}."
        ) from error


class _UnusualError(Exception):
    """The file has something that no weight file has."""


def _float(size: int, exponent: int, mantissa: int) -> bytes:
    properties = struct.pack("<HHBBBBI", 0, 8 * size, mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1)
    return struct.pack("<BBBBI", 0x11, 0x20, 8 * size - 1, 0, size) + properties + bytes(4)


def _whole(size: int, signed: bool) -> bytes:
    return struct.pack("<BBBBIHH", 0x10, 8 * signed, 0, 0, size, 0, 8 * size) + bytes(4)


# The types of numbers, as messages describe them.
_TYPES: dict[bytes, np.dtype[Any]] = {
    _float(2, 5, 10): np.dtype("<f2"),
    _float(4, 8, 23): np.dtype("<f4"),
    _float(8, 11, 52): np.dtype("<f8"),
    **{_whole(size, True): np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{_whole(size, False): np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
# An attribute's type and shape when it is one text in UTF-8: it holds a length, and where the text lies in a heap.
_TEXT = bytes.fromhex("19010100 10000000 10000000 01000000 00000800 00000000") + bytes.fromhex("01000000 00000000")

_SMALL_FILE = bytes.fromhex("00000000 00080800 04001000 00000000")
_CONTIGUOUS = b"\3\1"
_NOWHERE = 2**64 - 1

# The kinds of messages in the headers of groups and datasets.
_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 1, 3, 8, 12, 16, 17
_IGNORED = (0, 4, 5, 18)  # Free space, two kinds of fill values, and the time of the last change.
_REFUSED = {
    2: "holds a link to elsewhere, or links of a newer format",
    6: "holds a link to elsewhere, or links of a newer format",
    7: "does not hold its values in the file itself, as a weight file must",
    11: "holds compressed or filtered values",
}


class _Parser:
    """Reads the structures of one file, each within its bounds, and ``_STRUCTURES`` of them at most."""

    def __init__(self, content: bytes, base: int):
        self.content = content
        self.base = base
        self.left = _STRUCTURES

    def structure(self, layout: str, place: int, signature: bytes = b"") -> tuple[Any, ...]:
        """Return the fields of a structure at the address ``place``, which begins with ``signature``."""
        data = self.piece(place, len(signature) + struct.calcsize(f"<{layout}"))
        if not data.startswith(signature):
            raise _UnusualError(f"{signature.decode('latin-1')} is missing at byte {place:,}")
        return struct.unpack_from(f"<{layout}", data, len(signature))

    def piece(self, place: int, size: int) -> bytes:
        """Return ``size`` bytes at the address ``place``."""
        self.left -= 1 + size // 64
        if self.left < 0:
            raise _UnusualError(f"It has more than {_STRUCTURES:,} structures")
        begin = self.base + place
        if begin + size > len(self.content):
            raise _UnusualError(f"{size:,} bytes at byte {place:,} lie beyond its end")
        return self.content[begin : begin + size]

    def superblock(self) -> int:
        """Return the address of the root group's header."""
        kind, base, free, end, driver, _, root = self.structure("16sQQQQQQ", 0, SIGNATURE)
        if (kind, base, free, driver) != (_SMALL_FILE, self.base, _NOWHERE, _NOWHERE):
            raise _UnusualError("Its superblock is not that of a small file of version 0")
        if end != len(self.content):
            raise _UnusualError(f"It should have {end:,} bytes. Received: {len(self.content):,}")
        return int(root)

    def tree(self, root: int) -> tuple[tuple[str, ...], dict[str, Dataset], tuple[str, ...], dict[str, bytes | None]]:
        """Return the names in the root, the datasets, the empty groups, and the texts of the root's attributes."""
        messages, attributes = self.messages(root, "Its root")
        texts = dict(map(self.text, attributes))
        waiting = self.members(messages, "")
        names = tuple(name for name, _ in waiting)
        datasets: dict[str, Dataset] = {}
        empty = []
        seen = {root}
        while waiting:
            address, header = waiting.pop()
            if header in seen:
                raise _UnusualError(f"{address} is in two places")
            seen.add(header)
            messages, _ = self.messages(header, address)
            if _SYMBOLS in messages:
                members = self.members(messages, address)
                waiting += members
                empty += [] if members else [address]
            else:
                datasets[address] = self.dataset(messages, address)
        _refuse_overlap(datasets)
        return names, datasets, tuple(empty), texts

    def messages(self, place: int, what: str) -> tuple[dict[int, bytes], list[bytes]]:
        """Return the messages of the object header at ``place`` by their kind, and those of its attributes."""
        version, count, size = self.structure("BxHxxxxI", place)
        if version != 1:
            raise _UnusualError(f"{what} has a header of version {version}")
        found: dict[int, bytes] = {}
        attributes = []
        blocks = [(place + 16, size)]
        for begin, size in blocks:
            end = begin + size
            while count and begin + 8 <= end:
                kind, length, flags = self.structure("HHBxxx", begin)
                if begin + 8 + length > end:
                    raise _UnusualError(f"{what} has a message that is too long")
                if kind in _REFUSED or flags & 2:
                    raise _UnusualError(f"{what} {_REFUSED.get(kind, 'shares a message')}")
                data = self.piece(begin + 8, length)
                if kind == _CONTINUATION and length == 16:
                    blocks.append(struct.unpack("<QQ", data))
                elif kind == _ATTRIBUTE:
                    attributes.append(data)
                elif kind in (_SPACE, _TYPE, _LAYOUT, _SYMBOLS) and kind not in found:
                    found[kind] = data
                elif kind not in _IGNORED:
                    raise _UnusualError(f"{what} has a message of kind {kind}")
                begin += 8 + length
                count -= 1
        return found, attributes

    def members(self, messages: dict[int, bytes], group: str) -> list[tuple[str, int]]:
        """Return address and header of each member of a group."""
        what = group or "Its root"
        if messages.keys() != {_SYMBOLS} or len(messages[_SYMBOLS]) != 16:
            raise _UnusualError(f"{what} is neither a group nor numbers")
        index, heap = struct.unpack("<QQ", messages[_SYMBOLS])
        size, names = self.structure("xxxxQxxxxxxxxQ", heap, b"HEAP")
        if self.base + names + size > len(self.content):
            raise _UnusualError(f"{what} has names beyond the end")
        found: dict[str, int] = {}
        nodes: list[tuple[int, int | None]] = [(index, None)]
        while nodes:
            node, expected = nodes.pop()
            if expected == -1:
                for name, header in self.symbols(node, names, size, what):
                    address = f"{group}/{name}" if group else name
                    if address in found or len(address) > _ADDRESS_LIMIT:
                        raise _UnusualError(f"{address[:_ADDRESS_LIMIT]} is there twice, or too long")
                    found[address] = header
                continue
            kind, level, count = self.structure("BBH16x", node, b"TREE")
            # Levels fall towards the leaves, so that no node leads back to itself.
            if kind or expected not in (None, level):
                raise _UnusualError(f"{what} has an index that makes no sense")
            nodes += [(self.structure("Q", node + 32 + 16 * k)[0], level - 1) for k in range(count)]
        return list(found.items())

    def symbols(self, node: int, names: int, size: int, what: str) -> list[tuple[str, int]]:
        """Return name and header of each symbol in ``node``; its names lie in ``size`` bytes at ``names``."""
        version, count = self.structure("BxH", node, b"SNOD")
        if version != 1:
            raise _UnusualError(f"{what} has an index of version {version}")
        found = []
        for k in range(count):
            place, header, kind = self.structure("QQI20x", node + 8 + 40 * k)
            text = self.piece(names + place, min(_ADDRESS_LIMIT + 1, size - place)) if place < size else b""
            try:
                name = text[: text.index(0)].decode()
            except ValueError as error:
                raise _UnusualError(f"{what} has a member whose name can't be read") from error
            if kind > 2 or not name or "/" in name or not name.isprintable():
                raise _UnusualError(f"{what} has a member that makes no sense: {name!r}")
            if kind == 2:
                raise _UnusualError(f"{what} has {name}, which is a link to elsewhere: a weight file must not have one")
            found.append((name, header))
        return found

    def dataset(self, messages: dict[int, bytes], address: str) -> Dataset:
        """Return the dataset that ``messages`` describe."""
        if messages.keys() != {_SPACE, _TYPE, _LAYOUT}:
            raise _UnusualError(f"{address} is neither a group nor numbers")
        dtype, shape, layout = _TYPES.get(messages[_TYPE]), _shape(messages[_SPACE], address), messages[_LAYOUT]
        if dtype is None:
            raise _UnusualError(f"{address} should hold plain numbers, integers or floating-point")
        if layout[:2] != _CONTIGUOUS or len(layout) != 24:
            raise _UnusualError(f"{address} does not hold its values in one piece")
        place, size = struct.unpack_from("<QQ", layout, 2)
        dataset = Dataset(shape, dtype, self.base + place)
        if size != dataset.end - dataset.offset or dataset.end > len(self.content):
            raise _UnusualError(f"{address} has {size:,} bytes at byte {place:,}, which do not fit its shape {shape}")
        return dataset

    def text(self, data: bytes) -> tuple[str, bytes | None]:
        """Return name and content of an attribute; None for what is no text of at most ``_TEXT_LIMIT`` bytes."""
        if len(data) < 8:
            raise _UnusualError("It has an attribute without a name")
        name = data[8 : 8 + int.from_bytes(data[2:4], "little")].rstrip(b"\0").decode("utf-8", "replace")
        start = 8 + -(-int.from_bytes(data[2:4], "little") // 8) * 8
        if data[:2] != b"\1\0" or data[start : start + len(_TEXT)] != _TEXT or len(data) != start + len(_TEXT) + 16:
            return name, None
        length, heap, index = struct.unpack_from("<IQI", data, start + len(_TEXT))
        return name, self.heap_object(heap, index, length) if length <= _TEXT_LIMIT else None

    def heap_object(self, heap: int, index: int, length: int) -> bytes:
        """Return the object ``index``, of ``length`` bytes, of the global heap at ``heap``."""
        version, size = self.structure("BxxxQ", heap, b"GCOL")
        place, end, number = heap + 16, heap + size, 1
        found = []
        while number and place + 16 <= end:
            number, stored = self.structure("HxxxxxxQ", place)
            if number == index:
                found.append((place + 16, stored))
            # Number 0 is the free space up to the end; its size includes these 16 bytes.
            place += 16 + -(-stored // 8) * 8 if number else stored
        whole = place <= end if number else place == end
        if version != 1 or not whole or not index or [stored for _, stored in found] != [length]:
            raise _UnusualError(f"The heap at byte {heap:,} makes no sense")
        return self.piece(found[0][0], length)


def _shape(space: bytes, address: str) -> tuple[int, ...]:
    """Return the shape that a dataspace message describes; a dataset that could grow has none."""
    rank, limited = (space[1], space[2]) if len(space) >= 8 and space[0] == 1 else (0, 255)
    if limited > 1 or rank > _SIDES or len(space) != 8 + 8 * rank * (1 + limited):
        raise _UnusualError(f"{address} has no shape")
    sizes = struct.unpack_from(f"<{rank * (1 + limited)}Q", space, 8)
    if limited and sizes[:rank] != sizes[rank:]:
        raise _UnusualError(f"{address} could grow")
    return sizes[:rank]


def _refuse_overlap(datasets: dict[str, Dataset]) -> None:
    """Refuse datasets that share bytes: together they are no larger than the file."""
    ordered = sorted(datasets.items(), key=lambda item: item[1].offset)
    for (one, before), (other, behind) in pairwise(ordered):
        if behind.offset < before.end:
            raise _UnusualError(f"{one} and {other} share bytes")
