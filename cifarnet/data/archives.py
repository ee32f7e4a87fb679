"""Reads tar and zip archives into memory, without extracting anything to disk."""

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from cifarnet.data.archive_contents import MEMBER_LIMIT, RATIO_FROM, ArchiveContents, Member, oversized
from cifarnet.data.walk import SPECIAL
from cifarnet.errors import DataError

# A tar header and a zip directory state their own sizes and are read in one piece. The largest headers hold extended
# attributes, which have at most 64 KiB on Linux. A million pictures need a directory of about 120 MB.
_HEADER_LIMIT = 256 << 10
_DIRECTORY_LIMIT = 128 << 20
# Python before 3.11.10 needs a time that is quadratic in the length of a number in a header.
_LONG_NUMBER = re.compile(rb"\d{100}")
# The most global values (pax headers that apply to all members). Each member gets a copy of them; git writes one.
_GLOBAL_LIMIT = 1000
# Bytes of one read. tarfile needs a time that is quadratic in the number of holes that one read covers.
_PIECE = 64 << 10

# bzip2 and LZMA are not accepted: one step unpacks 4 KiB to as much as 5 GB, regardless of the stated size.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}
"""Functions that open a compressed tar, by its first bytes."""

# Bit 11 of a zip member's flags: its name is in UTF-8.
_UTF8 = 0x800


def read_archive(path: Path) -> Iterator[Member]:
    """Read the tar (plain, gz, bz2, xz) or zip archive ``path``: its files and folders, with links resolved.

    Links are followed only within the archive. Names are POSIX names in Unicode's normal form C. Hidden and system
    names are skipped.

    Raises:
        DataError: when ``path`` is not an archive, holds a name twice, or exceeds the limits on memory.
        Exception: of several kinds when it is damaged.
    """
    with path.open("rb") as file:
        # Tar first: a tar whose last member is a stored zip also looks like a zip.
        stream = _Stream(_unpacked(file), path)
        if tar := _tar(stream):
            return _read_tar(tar, stream, ArchiveContents(path)).members()
        if zipfile.is_zipfile(file):
            return _read_zip(_Stream(file, path), ArchiveContents(path)).members()
    raise DataError(f"{path} is neither a folder nor a tar, zip or .npz file, or it is damaged.")


class _Stream:
    """A readable stream of the archive ``path`` that refuses to read more bytes than ``allow`` permits.

    The standard library reads tar headers and zip directories, and trusts the sizes that they state.

    Attributes:
        last_block: the content of the last read if it was a block of a tar or less; empty after a longer one.
    """

    def __init__(self, file: Any, path: Path):
        self._file, self._path = file, path
        self._allowed = self._limit = 0
        self._refused: re.Pattern[bytes] | None = None
        self.last_block = b""
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def allow(self, size: int, refused: re.Pattern[bytes] | None = None) -> None:
        """Permit reads of ``size`` bytes in total, in which ``refused`` must not occur."""
        self._allowed = self._limit = size
        self._refused = refused

    def used(self) -> int:
        """Return the number of bytes read since ``allow``."""
        return self._limit - self._allowed

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or all remaining bytes if it is negative.

        Raises:
            DataError: when they are more than ``allow`` permits, or contain a refused pattern.
        """
        if size < 0:
            most = self._allowed // _PIECE + 2
            content = b"".join(islice(iter(partial(self._file.read, _PIECE), b""), most))
            size = len(content)
        else:
            content = self._file.read(size) if size <= self._allowed else b""
        if size > self._allowed:
            raise oversized(self._path, f"headers or a directory of more than {self._limit:,} bytes", f"{size:,} bytes")
        self._allowed -= size
        self.last_block = content if size <= tarfile.BLOCKSIZE else b""
        # A single block holds short numbers only, and the first block of a file that is not a tar may hold anything.
        if self._refused and size > tarfile.BLOCKSIZE and self._refused.search(content):
            raise oversized(self._path, "a number of 100 digits or more", "one in a header")
        return content

    def close(self) -> None:
        """Do nothing: the owner of the file closes it."""


def _unpacked(file: IO[bytes]) -> Any:
    """Return the decompressed stream of ``file``, or ``file`` itself if it is not compressed."""
    head = file.read(max(map(len, _COMPRESSIONS)))
    file.seek(0)
    return next((unpack(file) for magic, unpack in _COMPRESSIONS.items() if head.startswith(magic)), file)


def _tar(stream: _Stream) -> tarfile.TarFile | None:
    """Open a tar and read its first header; return None when it is not a tar."""
    stream.allow(_HEADER_LIMIT, _LONG_NUMBER)
    try:
        return tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return None


def _read_tar(archive: tarfile.TarFile, stream: _Stream, found: ArchiveContents) -> ArchiveContents:
    while member := archive.next():
        # tarfile would keep every header in memory.
        archive.members.clear()  # type: ignore[attr-defined]
        if (values := len(archive.pax_headers)) > _GLOBAL_LIMIT:
            raise oversized(found.path, f"more than {_GLOBAL_LIMIT:,} global values", f"{values:,}")
        found.count(member.name, member.size, stream.used())
        stream.allow(member.size)
        if member.isdir():
            found.add_folder(member.name)
        elif member.issym():
            found.add_link(member.name, member.linkname)
        elif member.islnk():
            found.add_link(member.name, member.linkname, is_hard=True)
        elif member.isreg() and (content := archive.extractfile(member)):
            found.add_file(member.name, _sparse_content(member, content) if member.issparse() else content.read())
        else:
            found.leave_out(member.name, SPECIAL)
        stream.allow(_HEADER_LIMIT, _LONG_NUMBER)
    _require_end(stream, found.path)
    return found


def _require_end(stream: _Stream, path: Path) -> None:
    """Check that a tar was read to its end, and that its checksum holds if it is compressed.

    tarfile takes a damaged or truncated header for the end of the archive. The checksum is compared by the read that
    finds the end of the compressed data.

    Raises:
        DataError: when the last block is not the empty one that ends a tar.
        Exception: of several kinds when the checksum differs, or the compressed data are truncated.
    """
    if stream.last_block != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{path} is damaged or truncated: a header is invalid, or the end of the archive is missing.")
    stream.allow(RATIO_FROM)
    while stream.read(_PIECE):
        pass


def _sparse_content(member: tarfile.TarInfo, content: IO[bytes]) -> bytes:
    """Return the content of a sparse file, read in pieces and checked, which tarfile does not do.

    Raises:
        ValueError: when its parts overlap or lie outside the file.
    """
    end = 0
    parts: Any = member.sparse
    for start, size in parts:
        if start < end or size < 0:
            raise ValueError(f"the parts of the sparse file {member.name} overlap")
        end = start + size
    if end > member.size:
        raise ValueError(f"a part of the sparse file {member.name} lies outside it")
    return b"".join(iter(partial(content.read, _PIECE), b""))


def _read_zip(stream: _Stream, found: ArchiveContents) -> ArchiveContents:
    stream.allow(_DIRECTORY_LIMIT)
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            name = _zip_name(member)
            found.count(name, member.file_size)
            if name.endswith("/"):
                found.add_folder(name)
                continue
            stream.allow(MEMBER_LIMIT)
            content = _zip_content(archive, member, f"{name} in {found.path}")
            if stat.S_ISLNK(member.external_attr >> 16):
                found.add_link(name, content.decode(errors="surrogateescape"))
            else:
                found.add_file(name, content)
    return found


def _zip_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> bytes:
    if member.compress_type not in _ZIP_METHODS:
        raise DataError(
            f"{what} must be stored or deflated. Pack the archive again with one of these."
            f" Received: the compression method {member.compress_type}"
        )
    with archive.open(member) as file:
        # ZipFile.read unpacks more than the stated size before it truncates the result.
        return file.read(member.file_size)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return the member's name, decoded as UTF-8 where possible, with slashes instead of backslashes."""
    name = member.filename
    if not member.flag_bits & _UTF8:
        # macOS and others write UTF-8 without setting the flag. Text in code page 437 is hardly ever valid UTF-8.
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = member.filename
    return name.replace("\\", "/")
