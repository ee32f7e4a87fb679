"""Tar and zip archives, read into memory and never extracted. Links are followed only within the archive."""

import stat
import tarfile
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

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
# Bytes that a name counts beside its content: a header that compresses to nothing takes more in memory, and links to
# folders of links double with every level.
_NAME_COST = 1024
# Linux follows no longer paths.
_TARGET_LIMIT = 4096

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
    # Tar first: a tar that ends with a stored zip passes for a zip as well.
    if tarfile.is_tarfile(path):
        return _read_tar(path).members()
    if zipfile.is_zipfile(path):
        return _read_zip(path).members()
    raise DataError(f"{path} is neither a folder nor a tar, zip or .npz file, or it is damaged.")


def _read_tar(path: Path) -> "_Archive":
    found = _Archive(path)
    with tarfile.open(path) as archive:
        for member in archive:
            found.count(member.name, member.size)
            if member.isdir():
                found.add_folder(member.name)
            elif member.issym():
                found.add_link(member.name, member.linkname)
            elif member.islnk():
                found.add_link(member.name, member.linkname, is_hard=True)
            elif member.isreg() and (content := archive.extractfile(member)):
                found.add_file(member.name, content.read())
            else:
                found.leave_out(member.name, SPECIAL)
    return found


def _read_zip(path: Path) -> "_Archive":
    found = _Archive(path)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _zip_name(member)
            found.count(name, member.file_size)
            if name.endswith("/"):
                found.add_folder(name)
            elif stat.S_ISLNK(member.external_attr >> 16):
                found.add_link(name, archive.read(member).decode(errors="surrogateescape"))
            else:
                found.add_file(name, archive.read(member))
    return found


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

    def count(self, name: str, size: int) -> None:
        """Add ``size`` bytes of the member ``name``, and what its name takes, to the totals.

        Raises:
            DataError: when that is more than may be read into memory.
        """
        # The name of every folder that it is in is kept as well.
        self._names += _NAME_COST + len(name) * name.count("/")
        if max(self._names, self._total + size) > max(RATIO_FROM, RATIO_LIMIT * self._packed):
            raise DataError(
                f"{self.path} unpacks to more than {RATIO_LIMIT} times its size ({self._packed:,} bytes), at {name}: it"
                " looks like a decompression bomb. If it is none, unpack it and name the folder."
            )
        if size > MEMBER_LIMIT or self._total + size > ARCHIVE_LIMIT:
            raise DataError(
                f"{self.path} holds too much to be read into memory: {name} has {size:,} bytes after {self._total:,}"
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
            if hops > _HOPS or len(target) > _TARGET_LIMIT:
                return "", BROKEN_LINK
            # A hard link names its target from the archive's root, a symbolic one from its own folder.
            place = [] if is_hard else place[:-1]
            pending += _split(target)[::-1]
        name = "/".join(place)
        return (name, "") if name in self._contents or name in self._children else ("", BROKEN_LINK)


def _split(name: str) -> list[str]:
    return [part for part in unicodedata.normalize("NFC", name).split("/") if part not in ("", ".")]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _with_parents(name: str) -> frozenset[str]:
    parts = name.split("/")
    return frozenset("/".join(parts[:end]) for end in range(1, len(parts) + 1))
