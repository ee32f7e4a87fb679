"""Small files that ask for much: each must be refused soon, in little memory."""

import bz2
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_NUMPY_DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R"
_DATA = b"\x80\x02}X\x04\x00\x00\x00data"

PICKLES = {
    # name: (content, part of the message)
    "nested tuples as a key": (b"\x80\x02})" + b"\x85" * 20_000 + b"K\x01s.", "a key that is no text"),
    "nested lists": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "containers in more than 4 levels"),
    "tuples that double": (
        b"\x80\x04})\x94" + b"".join(b"h%ch%c\x86\x94" % (row, row) for row in range(25)) + b"K\x01s.",
        "one container in two places",
    ),
    "a duplicated value": (b"\x80\x02})" + b"2\x86" * 40 + b"K\x01s.", "the opcode DUP"),
    "a large index of the memo": (b"\x80\x02Nr\x00\x00\x00\x10.", "must hold a dictionary"),
    "a number for a buffer": (
        _DATA + b"cnumpy.core.numeric\n_frombuffer\n(J\x00\x00\x00\x7f" + _NUMPY_DTYPE + b"K\x01\x85U\x01CtRs.",
        "an array without content",
    ),
    "a number for the bytes of an array": (
        _DATA
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01K\x01\x85"
        + _NUMPY_DTYPE
        + b"\x89J\x00\x00\x00\x7ftbs.",
        "an array without content",
    ),
    "nested tuples for a type": (b"\x80\x02cnumpy\ndtype\n)" + b"\x85" * 20_000 + b"\x85R.", "an array of type tuple"),
    "one text encoded a hundred times": (
        b"\x80\x02(c_codecs\nencode\nq\x00X"
        + struct.pack("<I", 1 << 20)
        + bytes(1 << 20)
        + b"q\x01X\x06\x00\x00\x00latin1q\x02"
        + b"h\x00h\x01h\x02\x86R" * 100
        + b".",
        "one text in more bytes than the file has",
    ),
    "a number of 30 million digits": (b"I" + b"9" * 30_000_000 + b"\n.", "damaged or not a pickle"),
    "a long of 2 GB": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "damaged or not a pickle"),
    "bytes of an exabyte": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".", "damaged or not a pickle"),
    "labels of one long text": (
        b"\x80\x02}(X\x04\x00\x00\x00data"
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"M\xe8\x03M\x00\x0c\x86"
        + _NUMPY_DTYPE
        + b"\x89T"
        + struct.pack("<I", 3072 * 1000)
        + bytes(3072 * 1000)
        + b"tbX\x06\x00\x00\x00labels](X"
        + struct.pack("<I", 1 << 20)
        + b"a" * (1 << 20)
        + b"q\x01"
        + b"h\x01" * 999
        + b"eu.",
        "must be 1,000 whole numbers",
    ),
}


def header(kind: bytes, size: int, name: str = ".x") -> bytes:
    """One header of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _negative(kind: bytes) -> bytes:
    """A header that states a size of -512 bytes."""
    block = bytearray(header(kind, 0))
    block[124:136] = b"\xff" * 10 + b"\xfe\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _record(key: bytes, value: bytes) -> bytes:
    """A value of a PAX header, which states its own length."""
    size = len(key) + len(value) + 3
    while len(line := b"%d %s=%s\n" % (size, key, value)) != size:
        size = len(line)
    return line


def _pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(kind, len(records)) + records + bytes(-len(records) % 512)


def _sparse(parts: Iterable[tuple[int, int]], size: int) -> bytes:
    """A sparse file of PAX's version 1.0."""
    listed = list(parts)
    places = b"%d\n" % len(listed) + b"".join(b"%d\n%d\n" % part for part in listed)
    places += bytes(-len(places) % 512)
    about = {b"major": b"1", b"minor": b"0", b"name": b"a.png", b"realsize": b"%d" % size}
    head = _pax(b"".join(_record(b"GNU.sparse." + key, value) for key, value in about.items()))
    return head + header(b"0", len(places) + len(listed)) + places + bytes(len(listed) + 512)


def _bz2_of_zeros(start: bytes, zeros: int) -> bytes:
    packer = bz2.BZ2Compressor()
    packed = packer.compress(start)
    for _ in range(zeros >> 20):
        packed += packer.compress(bytes(1 << 20))
    return packed + packer.flush()


def _links() -> bytes:
    target = "/".join(["d" * 35] * 90)
    found = []
    for row in range(1000):
        info = tarfile.TarInfo(f"f/{row}")
        info.type, info.linkname = tarfile.SYMTYPE, f"{target}/{row}"
        found.append(info.tobuf(tarfile.GNU_FORMAT))
    return b"".join([*found, bytes(2 * tarfile.BLOCKSIZE)])


TARS = {
    **{
        f"a {name} header of {size >> 20} MiB": (_bz2_of_zeros(header(kind, size), size), "headers or a directory of")
        for name, kind, size in (
            ("PAX", b"x", 48 << 20),
            ("global PAX", b"g", 48 << 20),
            ("long name", b"L", 48 << 20),
            ("long link", b"K", 48 << 20),
        )
    },
    "a PAX header of 3 GiB, cut off": (bz2.compress(header(b"x", 3 << 30)), "headers or a directory of"),
    "PAX headers in a chain": (_pax(_record(b"a", b"b")) * 1000, "damaged"),
    "a number of 200,000 digits": (_pax(b"1" * 200_000), "a number of 100 digits or more"),
    "many global values": (
        _pax(b"".join(_record(b"%d" % row, b"") for row in range(2000)), b"g") + header(b"0", 0),
        "more than 1,000 global values",
    ),
    "a negative size": (_negative(b"0") * 10 + bytes(1024), "a file of a negative size"),
    "a PAX header of a negative size": (_negative(b"x") + bytes(1 << 20), "headers or a directory of"),
    "a device of 1 TiB": (header(b"3", 1 << 40), "looks like a decompression bomb"),
    "a sparse file of 30,000 parts": (
        _sparse(((row * 1000, 1) for row in range(30_000)), 60_000_000),
        "headers or a directory of",
    ),
    "a sparse file whose parts overlap": (_sparse(((row * 10, 20) for row in range(100)), 10_000), "overlap"),
    "a sparse file with a part of negative size": (_sparse([(0, 10), (20, -10), (40, 1)], 100), "overlap"),
    "links to deep folders": (bz2.compress(_links()), "looks like a decompression bomb"),
    "a name of a thousand folders": (_pax(_record(b"path", b"d/" * 1000)) + header(b"0", 0), "a name that is too long"),
    "a name of 300 letters": (_pax(_record(b"path", b"d" * 300)) + header(b"0", 0), "a name that is too long"),
}


def _zip(name: bytes, method: int, packed: bytes, size: int) -> bytes:
    """A zip of one file that states the ``size`` of what ``packed`` unpacks to."""
    fields = struct.pack("<HHHIIIHH", method, 0, 0, 0, len(packed), size, len(name), 0)
    local = struct.pack("<IHH", 0x04034B50, 20, 0) + fields + name + packed
    entry = struct.pack("<IHHH", 0x02014B50, 20, 20, 0) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + entry + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(local), 0)


def _deflated_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


ZIPS = {
    "a name of 32,760 folders": (_zip(b"d/" * 32_760 + b"x.png", 0, b"", 0), "a name that is too long"),
    "a stated size of 10 bytes for 200 MiB": (_zip(b"a.png", 8, _deflated_zeros(200 << 20), 10), "Bad CRC-32"),
    "a stated size of 10 bytes for 200 MiB, bzip2": (
        _zip(b"a.png", 12, _bz2_of_zeros(b"", 200 << 20), 10),
        "must be stored or deflated",
    ),
    "a directory elsewhere": (_zip(b"a.png", 0, b"", 0)[:-6] + b"\xff\xff\xff\xff\0\0", "damaged"),
}


def _npz(y: bytes, x: bytes | None = None) -> bytes:
    """An .npz file with the arrays of the .npy files ``y`` and ``x``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", _npy(np.zeros((4, 8, 8, 3), np.uint8)) if x is None else x)
        archive.writestr("y_train.npy", y)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def _npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


_HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}".format

NPZS = {
    "a label of 99,999": (_npz(_npy(np.array([0, 1, 2, 99_999]))), "must number classes from 0, below 5,000"),
    "20,000 one-hot classes": (
        _npz(_npy(np.eye(4, 20_000, dtype=np.uint8))),
        "must have at most 5,000 classes. Received: 20,000",
    ),
    "a name of 3,000 letters": (_npz(_npy(np.array(["a" * 3000, "b", "c", "d"]))), "must have at most 100 characters"),
    "a header of 3,000 minus signs": (_npz(_npy_header("-" * 3000 + "1")), "y_train in .* can't be read"),
    "a header of nested lists": (_npz(_npy_header("[" * 4000 + "]" * 4000)), "y_train in .* can't be read"),
    "a header of many nots": (_npz(_npy_header("not " * 2400 + "1")), "y_train in .* can't be read"),
    "an array of 4 EiB": (_npz(_npy_header(_HEADER("'<f8'", f"({1 << 59},)"))), "y_train in .* can't be read"),
    "an array whose size overflows": (
        _npz(_npy_header(_HEADER("'|u1'", f"({1 << 32}, {1 << 32})"))),
        "y_train in .* ",
    ),
    "texts of no characters": (
        _npz(_npy_header(_HEADER("'<U0'", f"({1 << 40},)"))),
        "y_train in .* can't be read: it has 0 bytes for <U0",
    ),
    "a record in a record": (_npz(_npy_header(_HEADER("[('a', [('b', '<f8')])]", "(4,)"))), "y_train in .* "),
    "objects": (_npz(_npy_header(_HEADER("'|O'", "(4,)")) + b"\x80\x04N."), "can't be read: Object arrays"),
    "two million images of two pixels": (
        _npz(_npy(np.arange(2_000_000) % 2), _npy(np.zeros((2_000_000, 2, 1), np.uint8))),
        "must not be enlarged to 32 x 32",
    ),
}


def write(folder: Path, kind: str, content: bytes) -> Path:
    """Write ``content`` below ``folder`` as ``kind`` (pickle, tar, zip or npz) and return the data source to read."""
    if kind != "pickle":
        path = folder / f"hostile.{kind}"
        path.write_bytes(content)
        return path
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(content)
    (folder / "test_batch").write_bytes(content)
    return folder
