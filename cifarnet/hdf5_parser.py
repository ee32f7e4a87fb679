"""A parser for the subset of HDF5 that weight files and checkpoints use.

The structures are those of the HDF5 File Format Specification Version 3.0
(https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html). libhdf5 is not safe for files from strangers: one
wrong byte can make it loop forever, and ten compressed numbers can fill the memory. h5py 2.9 to 3.16 lay out small,
plain files in the same way, so this subset is enough: superblock version 0, groups with symbol tables, and uncompressed
contiguous arrays of numbers. Everything else is refused. Filters, links and references to other files are never
followed. The number of structures limits the time, and the file size limits the memory.
"""

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_STRUCTURES = 2**19
"""The most structures of 64 bytes that are read from one file. A checkpoint of ResNet-1202 has 192,000."""
_ADDRESS_LIMIT = 200
"""The most characters of an array's path in the file."""
TEXT_LIMIT = 2**22
"""The most bytes of a text attribute."""
_RANK_LIMIT = 8
"""The most dimensions of an array. A convolution's kernel has 4."""


@dataclass(frozen=True)
class StoredArray:
    """A contiguous array of numbers in a file, ``offset`` bytes from its beginning."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def end(self) -> int:
        """The offset of the first byte after the array."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


class Contents(NamedTuple):
    """The contents of a file.

    Attributes:
        names: the names in the root group.
        datasets: the arrays by path (``weights/conv2d/kernel``).
        empty: the paths of the groups without members.
        texts: the root's attributes by name; None for one that is not a text of at most ``TEXT_LIMIT`` bytes.
    """

    names: tuple[str, ...]
    datasets: dict[str, StoredArray]
    empty: tuple[str, ...]
    texts: dict[str, bytes | None]


class FormatError(Exception):
    """The file has a structure outside the supported subset. The message is a sentence without a period."""


def parse_hdf5(content: bytes, base: int) -> Contents:
    """Parse the file ``content``, whose superblock is at the offset ``base``.

    Raises:
        FormatError: when it is damaged or uses anything outside the supported subset.
    """
    parser = _Parser(content, base)
    return parser.contents(parser.superblock())


def _float(size: int, exponent: int, mantissa: int) -> bytes:
    properties = struct.pack("<HHBBBBI", 0, 8 * size, mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1)
    return struct.pack("<BBBBI", 0x11, 0x20, 8 * size - 1, 0, size) + properties + bytes(4)


def _whole(size: int, signed: bool) -> bytes:
    return struct.pack("<BBBBIHH", 0x10, 8 * signed, 0, 0, size, 0, 8 * size) + bytes(4)


# NumPy types by the content of a datatype message.
_TYPES: dict[bytes, np.dtype[Any]] = {
    _float(2, 5, 10): np.dtype("<f2"),
    _float(4, 8, 23): np.dtype("<f4"),
    _float(8, 11, 52): np.dtype("<f8"),
    **{_whole(size, True): np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{_whole(size, False): np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
# Datatype and dataspace of an attribute that is one UTF-8 text. Its value is a length and a place in a global heap.
_TEXT = bytes.fromhex("19010100 10000000 10000000 01000000 00000800 00000000") + bytes.fromhex("01000000 00000000")

_SMALL_FILE = bytes.fromhex("00000000 00080800 04001000 00000000")
_CONTIGUOUS = b"\3\1"
_NOWHERE = 2**64 - 1

# Message types in the object headers of groups and arrays.
_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 1, 3, 8, 12, 16, 17
_IGNORED = (0, 4, 5, 18)  # Free space, two fill values, and the modification time.
_REFUSED = {
    2: "holds a link to elsewhere, or links of a newer format",
    6: "holds a link to elsewhere, or links of a newer format",
    7: "does not hold its values in the file itself, as a weight file must",
    11: "holds compressed or filtered values",
}


class _Parser:
    """Reads the structures of one file, with bounds checks, and at most ``_STRUCTURES`` of them."""

    def __init__(self, content: bytes, base: int):
        self.content = content
        self.base = base
        self.left = _STRUCTURES

    def structure(self, layout: str, place: int, signature: bytes = b"") -> tuple[Any, ...]:
        """Return the fields of the structure at the address ``place`` after its ``signature``."""
        data = self.piece(place, len(signature) + struct.calcsize(f"<{layout}"))
        if not data.startswith(signature):
            raise FormatError(f"{signature.decode('latin-1')} is missing at byte {place:,}")
        return struct.unpack_from(f"<{layout}", data, len(signature))

    def piece(self, place: int, size: int) -> bytes:
        """Return ``size`` bytes at the address ``place``."""
        self.left -= 1 + size // 64
        if self.left < 0:
            raise FormatError(f"It has more than {_STRUCTURES:,} structures")
        begin = self.base + place
        if begin + size > len(self.content):
            raise FormatError(f"{size:,} bytes at byte {place:,} lie beyond its end")
        return self.content[begin : begin + size]

    def superblock(self) -> int:
        """Return the address of the root group's header."""
        kind, base, free, end, driver, _, root = self.structure("16sQQQQQQ", 0, SIGNATURE)
        if (kind, base, free, driver) != (_SMALL_FILE, self.base, _NOWHERE, _NOWHERE):
            raise FormatError("Its superblock is not that of a small file of version 0")
        if end != len(self.content):
            raise FormatError(f"It should have {end:,} bytes. Received: {len(self.content):,}")
        return int(root)

    def contents(self, root: int) -> Contents:
        """Return the contents of the file whose root group has its header at ``root``."""
        messages, attributes = self.messages(root, "Its root")
        texts = dict(map(self.text, attributes))
        waiting = self.members(messages, "")
        names = tuple(name for name, _ in waiting)
        arrays: dict[str, StoredArray] = {}
        empty = []
        seen = {root}
        while waiting:
            address, header = waiting.pop()
            if header in seen:
                raise FormatError(f"{address} is in two places")
            seen.add(header)
            messages, _ = self.messages(header, address)
            if _SYMBOLS in messages:
                members = self.members(messages, address)
                waiting += members
                empty += [] if members else [address]
            else:
                arrays[address] = self.array(messages, address)
        _refuse_overlap(arrays)
        return Contents(names, arrays, tuple(empty), texts)

    def messages(self, place: int, what: str) -> tuple[dict[int, bytes], list[bytes]]:
        """Return the messages of the object header at ``place`` by type, and those of its attributes."""
        version, count, size = self.structure("BxHxxxxI", place)
        if version != 1:
            raise FormatError(f"{what} has a header of version {version}")
        found: dict[int, bytes] = {}
        attributes = []
        blocks = [(place + 16, size)]
        for begin, size in blocks:
            end = begin + size
            while count and begin + 8 <= end:
                kind, length, flags = self.structure("HHBxxx", begin)
                if begin + 8 + length > end:
                    raise FormatError(f"{what} has a message that is too long")
                if kind in _REFUSED or flags & 2:
                    raise FormatError(f"{what} {_REFUSED.get(kind, 'shares a message')}")
                data = self.piece(begin + 8, length)
                if kind == _CONTINUATION and length == 16:
                    blocks.append(struct.unpack("<QQ", data))
                elif kind == _ATTRIBUTE:
                    attributes.append(data)
                elif kind in (_SPACE, _TYPE, _LAYOUT, _SYMBOLS) and kind not in found:
                    found[kind] = data
                elif kind not in _IGNORED:
                    raise FormatError(f"{what} has a message of kind {kind}")
                begin += 8 + length
                count -= 1
        return found, attributes

    def members(self, messages: dict[int, bytes], group: str) -> list[tuple[str, int]]:
        """Return path and header of each member of a group."""
        what = group or "Its root"
        if messages.keys() != {_SYMBOLS} or len(messages[_SYMBOLS]) != 16:
            raise FormatError(f"{what} is neither a group nor numbers")
        index, heap = struct.unpack("<QQ", messages[_SYMBOLS])
        size, names = self.structure("xxxxQxxxxxxxxQ", heap, b"HEAP")
        if self.base + names + size > len(self.content):
            raise FormatError(f"{what} has names beyond the end")
        found: dict[str, int] = {}
        nodes: list[tuple[int, int | None]] = [(index, None)]
        while nodes:
            node, expected = nodes.pop()
            if expected == -1:
                for name, header in self.symbols(node, names, size, what):
                    address = f"{group}/{name}" if group else name
                    if address in found or len(address) > _ADDRESS_LIMIT:
                        raise FormatError(f"{address[:_ADDRESS_LIMIT]} occurs twice, or is too long")
                    found[address] = header
                continue
            kind, level, count = self.structure("BBH16x", node, b"TREE")
            # Levels must decrease towards the leaves, so that the index has no cycles.
            if kind or expected not in (None, level):
                raise FormatError(f"{what} has an invalid index")
            nodes += [(self.structure("Q", node + 32 + 16 * k)[0], level - 1) for k in range(count)]
        return list(found.items())

    def symbols(self, node: int, names: int, size: int, what: str) -> list[tuple[str, int]]:
        """Return name and header of each symbol in ``node``. Its names are in the ``size`` bytes at ``names``."""
        version, count = self.structure("BxH", node, b"SNOD")
        if version != 1:
            raise FormatError(f"{what} has an index of version {version}")
        found = []
        for k in range(count):
            place, header, kind = self.structure("QQI20x", node + 8 + 40 * k)
            text = self.piece(names + place, min(_ADDRESS_LIMIT + 1, size - place)) if place < size else b""
            try:
                name = text[: text.index(0)].decode()
            except ValueError as error:
                raise FormatError(f"{what} has a member whose name can't be read") from error
            if kind > 2 or not name or "/" in name or not name.isprintable():
                raise FormatError(f"{what} has a member with an invalid name: {name!r}")
            if kind == 2:
                raise FormatError(
                    f"{what} has {name}, which is a link to elsewhere. Links are not allowed in a weight file"
                )
            found.append((name, header))
        return found

    def array(self, messages: dict[int, bytes], address: str) -> StoredArray:
        """Return the array that ``messages`` describe."""
        if messages.keys() != {_SPACE, _TYPE, _LAYOUT}:
            raise FormatError(f"{address} is neither a group nor numbers")
        dtype, shape, layout = _TYPES.get(messages[_TYPE]), _shape(messages[_SPACE], address), messages[_LAYOUT]
        if dtype is None:
            raise FormatError(f"{address} should hold plain numbers, integers or floating-point")
        if layout[:2] != _CONTIGUOUS or len(layout) != 24:
            raise FormatError(f"{address} does not hold its values in one piece")
        place, size = struct.unpack_from("<QQ", layout, 2)
        array = StoredArray(shape, dtype, self.base + place)
        if size != array.end - array.offset or array.end > len(self.content):
            raise FormatError(f"{address} has {size:,} bytes at byte {place:,}, which do not fit its shape {shape}")
        return array

    def text(self, data: bytes) -> tuple[str, bytes | None]:
        """Return name and content of an attribute; the content is None if it is too long or not a text."""
        if len(data) < 8:
            raise FormatError("It has an attribute without a name")
        name = data[8 : 8 + int.from_bytes(data[2:4], "little")].rstrip(b"\0").decode("utf-8", "replace")
        start = 8 + -(-int.from_bytes(data[2:4], "little") // 8) * 8
        if data[:2] != b"\1\0" or data[start : start + len(_TEXT)] != _TEXT or len(data) != start + len(_TEXT) + 16:
            return name, None
        length, heap, index = struct.unpack_from("<IQI", data, start + len(_TEXT))
        return name, self.heap_object(heap, index, length) if length <= TEXT_LIMIT else None

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
            raise FormatError(f"The heap at byte {heap:,} is invalid")
        return self.piece(found[0][0], length)


def _shape(space: bytes, address: str) -> tuple[int, ...]:
    """Return the shape that a dataspace message describes."""
    rank, limited = (space[1], space[2]) if len(space) >= 8 and space[0] == 1 else (0, 255)
    if limited > 1 or rank > _RANK_LIMIT or len(space) != 8 + 8 * rank * (1 + limited):
        raise FormatError(f"{address} has no shape")
    sizes = struct.unpack_from(f"<{rank * (1 + limited)}Q", space, 8)
    if limited and sizes[:rank] != sizes[rank:]:
        raise FormatError(f"{address} could grow")
    return sizes[:rank]


def _refuse_overlap(arrays: dict[str, StoredArray]) -> None:
    """Refuse arrays that share bytes, so that all of them together are no larger than the file."""
    ordered = sorted(arrays.items(), key=lambda item: item[1].offset)
    for (one, before), (other, behind) in pairwise(ordered):
        if behind.offset < before.end:
            raise FormatError(f"{one} and {other} share bytes")
