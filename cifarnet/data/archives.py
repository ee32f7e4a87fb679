"""Tar and zip archives, read into memory and never extracted. Links are followed only within the archive."""

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from cifarnet.data.walk import BROKEN_LINK, LOOP, SPECIAL, is_ignored
from cifarnet.errors import DataError

# An archive is held in memory: these bound what a decompression bomb can take. CIFAR-10 is 184 MB, packed 170; what
# unpacks to hundreds of times its size, gzip's most being a thousand, holds no pictures.
MEMBER_LIMIT = 2 << 30
ARCHIVE_LIMIT = 4 << 30
RATIO_LIMIT = 200
RATIO_FROM = 64 << 20

# Linux follows as many links for one path.
_HOPS = 40
# Bytes that a name counts beside its content: a header that compresses to nothing takes memory and 0.1 ms, and links to
# folders of links double with every level. JPEG files of CIFAR-10, packed by xz, have 300 bytes, and so count 60,000.
_NAME_COST = 4096
_NAMES_LIMIT = 16 << 30  # Some three million names.
# How often a byte of a header counts beyond those that names and times need: its values take 100 bytes and 2 us each.
_HEADER_FREE, _HEADER_COST = 2048, 16
# File systems take no longer names: 255 characters of a file or folder, 4,096 of a path.
_PART_LIMIT = 255
_PATH_LIMIT = 4096
_DEPTH_LIMIT = 100
# Characters of a name that an error message shows.
_SHOWN = 200

# Tar's headers and zip's directory state their own sizes, and are read at once. The largest headers hold extended
# attributes, of 64 KiB at most on Linux. A million pictures need a directory of some 120 MB.
_HEADER_LIMIT = 256 << 10
_DIRECTORY_LIMIT = 128 << 20
# Python before 3.11.10 searches a header in a time that is quadratic in the length of a number.
_LONG_NUMBER = re.compile(rb"\d{100}")
# Values that apply to all members. Each member has a copy of them; git writes one.
_GLOBAL_LIMIT = 1000
# tarfile takes a time that is quadratic in the number of holes in what is read at once.
_PIECE = 64 << 10

# bzip2 and LZMA unpack in one step what 4 KiB hold, whatever the size that is stated: up to 5 GB.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}
"""The functions that unpack a tar, by its first bytes."""

OUTSIDE = "names or links out of the archive"
# Bit 11 of a zip member's flags: its name is in UTF-8.
_UTF8 = 0x800


@dataclass(frozen=True)
class Member:
    """A file of an archive with its ``content``, or a folder without. ``left_out`` is the reason why it isn't read."""

    name: str
    content: bytes | None = None
    left_out: str = ""


def read_archive(path: Path) -> Iterator[Member]:
    """Read the tar (plain, gz, bz2, xz) or zip archive ``path``: its files, folders, and what its links lead to.

    Names are POSIX names in Unicode's normal form C; hidden and system names are skipped.

    Raises:
        DataError: when ``path`` is no archive, holds a name twice, or holds too much to be read into memory.
        Exception: of several kinds when it is damaged.
    """
    with path.open("rb") as file:
        # Tar first: a tar that ends with a stored zip passes for a zip as well.
        stream = _Stream(_unpacked(file), path)
        if tar := _tar(stream):
            return _read_tar(tar, stream, _Archive(path)).members()
        if zipfile.is_zipfile(file):
            return _read_zip(_Stream(file, path), _Archive(path)).members()
    raise DataError(f"{path} is neither a folder nor a tar, zip or .npz file, or it is damaged.")


class _Stream:
    """The ``file`` of the archive ``path`` or what it unpacks to, of which only so many bytes are read as are allowed.

    Tar's headers and zip's directory are read by the standard library, which believes the sizes that they state.
    """

    def __init__(self, file: Any, path: Path):
        self._file, self._path = file, path
        self._allowed = self._limit = 0
        self._refused: re.Pattern[bytes] | None = None
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def allow(self, size: int, refused: re.Pattern[bytes] | None = None) -> None:
        """Let the following reads have ``size`` bytes in all, in which ``refused`` must not be found."""
        self._allowed = self._limit = size
        self._refused = refused

    def used(self) -> int:
        """Return the number of bytes that were asked for since ``allow``."""
        return self._limit - self._allowed

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes; all that follow when it is negative.

        Raises:
            DataError: when that is more than is allowed, or when the bytes are refused.
        """
        if size < 0:
            most = self._allowed // _PIECE + 2
            content = b"".join(islice(iter(partial(self._file.read, _PIECE), b""), most))
            size = len(content)
        else:
            content = self._file.read(size) if size <= self._allowed else b""
        if size > self._allowed:
            raise _oversized(
                self._path, f"headers or a directory of more than {self._limit:,} bytes", f"{size:,} bytes"
            )
        self._allowed -= size
        # The numbers in a block are short. The first block of what is no tar may hold anything.
        if self._refused and size > tarfile.BLOCKSIZE and self._refused.search(content):
            raise _oversized(self._path, "a number of 100 digits or more", "one in a header")
        return content

    def close(self) -> None:
        """Leave the file to its owner, which closes it."""


def _oversized(path: Path, what: str, received: str) -> DataError:
    return DataError(f"{path} is damaged, or made to fill the memory: it has {what}. Received: {received}")


def _unpacked(file: IO[bytes]) -> Any:
    """Return the stream that ``file`` unpacks to; ``file`` itself where it is not packed."""
    head = file.read(max(map(len, _COMPRESSIONS)))
    file.seek(0)
    return next((unpack(file) for magic, unpack in _COMPRESSIONS.items() if head.startswith(magic)), file)


def _tar(stream: _Stream) -> tarfile.TarFile | None:
    """Open a tar and read its first header; None when it is no tar."""
    stream.allow(_HEADER_LIMIT, _LONG_NUMBER)
    try:
        return tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return None


def _read_tar(archive: tarfile.TarFile, stream: _Stream, found: "_Archive") -> "_Archive":
    while member := archive.next():
        # The standard library would keep all of them.
        archive.members.clear()  # type: ignore[attr-defined]
        if (values := len(archive.pax_headers)) > _GLOBAL_LIMIT:
            raise _oversized(found.path, f"more than {_GLOBAL_LIMIT:,} global values", f"{values:,}")
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
    return found


def _sparse_content(member: tarfile.TarInfo, content: IO[bytes]) -> bytes:
    """Return the content of a sparse file; tarfile neither checks the places of its parts nor reads many in time.

    Raises:
        ValueError: when the parts overlap or lie outside the file.
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


def _read_zip(stream: _Stream, found: "_Archive") -> "_Archive":
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


def _zip_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, told: str) -> bytes:
    if member.compress_type not in _ZIP_METHODS:
        raise DataError(
            f"{told} must be stored or deflated. Pack the archive anew."
            f" Received: the compression method {member.compress_type}"
        )
    with archive.open(member) as file:
        # ZipFile.read would unpack more than the stated size before it is cut off.
        return file.read(member.file_size)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return the member's name in the encoding that it was written in, with slashes for Windows' backslashes."""
    name = member.filename
    if not member.flag_bits & _UTF8:
        # macOS and others write UTF-8 without its flag. Text in code page 437 is hardly ever valid UTF-8.
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = member.filename
    return name.replace("\\", "/")


class _Archive:
    """The files, folders and links of an archive, by their POSIX names."""

    def __init__(self, path: Path):
        self.path = path
        self._packed = path.stat().st_size
        self._total = 0
        self._names = 0
        self._contents: dict[str, bytes] = {}
        self._links: dict[str, tuple[str, bool]] = {}
        self._children: dict[str, set[str]] = defaultdict(set)
        self._left_out: list[Member] = []

    def count(self, name: str, size: int, header: int = 0) -> None:
        """Add the member ``name`` to the totals: its ``size``, what its name takes, and its ``header``, in bytes.

        Raises:
            DataError: when that is more than may be read into memory, the name is too long or the size negative.
        """
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        if size < 0:
            raise _oversized(self.path, "a file of a negative size", f"{size:,} bytes in {shown}")
        if _is_too_long(name):
            raise DataError(
                f"{self.path} has a name that is too long: a name may have {_PATH_LIMIT:,} characters,"
                f" {_PART_LIMIT} between slashes, and {_DEPTH_LIMIT} folders. Received: {shown}"
            )
        # The name of every folder that it is in is kept as well.
        self._names += _NAME_COST + len(name) * (1 + name.count("/"))
        self._names += _HEADER_COST * max(0, header - _HEADER_FREE)
        if max(self._names, self._total + size) > max(RATIO_FROM, RATIO_LIMIT * self._packed):
            raise DataError(
                f"{self.path} unpacks to more than {RATIO_LIMIT} times its size ({self._packed:,} bytes), at {shown}:"
                " it looks like a decompression bomb. If it is none, unpack it and name the folder."
            )
        if self._names > _NAMES_LIMIT:
            raise DataError(
                f"{self.path} holds too many files, or too long names, to be read into memory. Unpack it and name the"
                f" folder. Received: {self._names // _NAME_COST:,} files or more, at {shown}"
            )
        if size > MEMBER_LIMIT or self._total + size > ARCHIVE_LIMIT:
            raise DataError(
                f"{self.path} holds too much to be read into memory: {shown} has {size:,} bytes after {self._total:,}"
                f" before it; the limits are {MEMBER_LIMIT:,} a file and {ARCHIVE_LIMIT:,} in all. Unpack it and name"
                " the folder."
            )
        self._total += size

    def add_folder(self, name: str) -> None:
        """Add a folder, and those that it is in."""
        if (parts := self._parts(name)) is not None:
            self._children["/".join(parts)]
            self._add_parents(parts)

    def add_file(self, name: str, content: bytes) -> None:
        """Add a file.

        Raises:
            DataError: when there is one of this name, unless it is ignored.
        """
        if joined := self._new(name, self._contents):
            self._contents[joined] = content

    def add_link(self, name: str, target: str, is_hard: bool = False) -> None:
        """Add a link to ``target``: a name in the archive for a hard link, else a path from the link's folder.

        Raises:
            DataError: as ``add_file``.
        """
        if joined := self._new(name, self._links):
            self._links[joined] = target, is_hard

    def leave_out(self, name: str, reason: str) -> None:
        """Note that the member ``name`` is not read."""
        if not any(is_ignored(part) for part in _split(name) if part != ".."):
            self._left_out.append(Member(name, left_out=reason))

    def members(self) -> Iterator[Member]:
        """Yield the files and folders that are not ignored, those that links lead to, and the members left out."""
        yield from self._left_out
        # A folder's name, its place after links are followed, and the places of all folders that hold either.
        pending: list[tuple[str, str, frozenset[str]]] = [("", "", frozenset({""}))]
        while pending:
            folder, place, around = pending.pop()
            for child in sorted(self._children[place]):
                if is_ignored(child):
                    continue
                name, target = _join(folder, child), _join(place, child)
                places = [target]
                if target in self._links:
                    linked, reason = self._follow(target)
                    reason = reason or (LOOP if linked in around else "")
                    if reason:
                        yield Member(name, left_out=reason)
                    else:
                        places.append(linked)
                for target in places:
                    if target != name and (target in self._contents or target in self._children):
                        self.count(name, len(self._contents.get(target, b"")) + _NAME_COST)
                    if target in self._contents:
                        yield Member(name, self._contents[target])
                    if target in self._children:
                        yield Member(name)
                        pending.append((name, target, around | _with_parents(target)))

    def _new(self, name: str, known: Collection[str]) -> str:
        """Return the name of a new file or link in normal form; empty when it leads out of the archive."""
        parts = self._parts(name)
        if not parts:
            return ""
        joined = "/".join(parts)
        if joined in known and not any(map(is_ignored, parts)):
            raise DataError(f"{self.path} holds {joined} twice: which of them is meant can't be known.")
        self._add_parents(parts)
        return joined

    def _parts(self, name: str) -> list[str] | None:
        parts = _split(name)
        if ".." in parts:
            self.leave_out(name, OUTSIDE)
            return None
        return parts

    def _add_parents(self, parts: list[str]) -> None:
        for end, part in enumerate(parts):
            self._children["/".join(parts[:end])].add(part)

    def _follow(self, link: str) -> tuple[str, str]:
        """Return the name in the archive that ``link`` leads to, and an empty text; or an empty name and the reason."""
        place: list[str] = []
        pending = _split(link)[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if not place:
                    return "", OUTSIDE
                place.pop()
                continue
            place.append(part)
            if (found := self._links.get("/".join(place))) is None:
                continue
            target, is_hard = found
            if target.startswith("/") and not is_hard:
                return "", OUTSIDE
            hops += 1
            if hops > _HOPS or _is_too_long(target):
                return "", BROKEN_LINK
            self.count(target, 0)
            # A hard link names its target from the archive's root, a symbolic one from its own folder.
            place = [] if is_hard else place[:-1]
            pending += _split(target)[::-1]
        name = "/".join(place)
        return (name, "") if name in self._contents or name in self._children else ("", BROKEN_LINK)


def _is_too_long(name: str) -> bool:
    return len(name) > _PATH_LIMIT or name.count("/") > _DEPTH_LIMIT or max(map(len, name.split("/"))) > _PART_LIMIT


def _split(name: str) -> list[str]:
    return [part for part in unicodedata.normalize("NFC", name).split("/") if part not in ("", ".")]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _with_parents(name: str) -> frozenset[str]:
    parts = name.split("/")
    return frozenset("/".join(parts[:end]) for end in range(1, len(parts) + 1))
