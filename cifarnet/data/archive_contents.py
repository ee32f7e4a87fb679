"""The contents of an archive, collected by name: limits on what is held in memory, and links within the archive."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cifarnet.data.walk import BROKEN_LINK, LOOP, is_ignored
from cifarnet.errors import DataError
from cifarnet.plurals import counted

# Archives are read into memory. These limits bound what a decompression bomb can take. CIFAR-10 has 184 MB, 170 MB
# packed. An archive of pictures never unpacks to hundreds of times its size; gzip can reach a thousand times.
MEMBER_LIMIT = 2 << 30
ARCHIVE_LIMIT = 4 << 30
RATIO_LIMIT = 200
RATIO_FROM = 64 << 20

# The most links that are followed for one path, as on Linux.
_HOPS = 40
# Bytes that a name counts in addition to its content. A header compresses to almost nothing, but takes memory and
# 0.1 ms. Links to folders of links double with every level.
_NAME_COST = 4096
_NAMES_LIMIT = 16 << 30  # About three million names.
# Weight of each header byte beyond those that names and times need. Extended values take 100 bytes and 2 us each.
_HEADER_FREE, _HEADER_COST = 2048, 16
# The limits of Linux file systems: 255 characters in a file name, 4,096 in a path.
_PART_LIMIT = 255
_PATH_LIMIT = 4096
_DEPTH_LIMIT = 100
# Characters of a name that an error message shows.
_SHOWN = 200

OUTSIDE = "names or links out of the archive"


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive.

    Attributes:
        name: the POSIX name.
        content: the content of a file; None for a folder.
        left_out: the reason why the member is not read; empty when it is.
    """

    name: str
    content: bytes | None = None
    left_out: str = ""


def oversized(path: Path, what: str, received: str) -> DataError:
    """Return the error for an archive whose structure exceeds a limit."""
    return DataError(f"{path} is damaged, or crafted to exhaust the memory: it has {what}. Received: {received}")


class ArchiveContents:
    """Collects the files, folders and links of an archive by their POSIX names."""

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
        """Add a member to the totals, and check them against the limits.

        Args:
            name: the member's name.
            size: the bytes of its content.
            header: the bytes of its header.

        Raises:
            DataError: when a limit is exceeded, the name is too long or the size is negative.
        """
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        if size < 0:
            raise oversized(self.path, "a file of a negative size", f"{size:,} bytes in {shown}")
        if _is_too_long(name):
            raise DataError(
                f"{self.path} has a name that is too long: a name may have {_PATH_LIMIT:,} characters,"
                f" {_PART_LIMIT} between slashes, and {_DEPTH_LIMIT} folders. Received: {shown}"
            )
        # The names of all its parent folders are kept as well.
        self._names += _NAME_COST + len(name) * (1 + name.count("/"))
        self._names += _HEADER_COST * max(0, header - _HEADER_FREE)
        if max(self._names, self._total + size) > max(RATIO_FROM, RATIO_LIMIT * self._packed):
            raise DataError(
                f"{self.path} unpacks to more than {RATIO_LIMIT} times its size ({self._packed:,} bytes), at {shown}:"
                " it looks like a decompression bomb. If it is not, unpack it and give the folder."
            )
        if self._names > _NAMES_LIMIT:
            raise DataError(
                f"{self.path} holds too many files, or too long names, to be read into memory. Unpack it and give the"
                f" folder. Received: {counted(self._names // _NAME_COST, 'file')} or more, at {shown}"
            )
        if size > MEMBER_LIMIT or self._total + size > ARCHIVE_LIMIT:
            raise DataError(
                f"{self.path} holds too much to be read into memory: {shown} has {size:,} bytes after {self._total:,}"
                f" before it; the limits are {MEMBER_LIMIT:,} a file and {ARCHIVE_LIMIT:,} in all. Unpack it and give"
                " the folder."
            )
        self._total += size

    def add_folder(self, name: str) -> None:
        """Add a folder and its parents."""
        if (parts := self._parts(name)) is not None:
            self._children["/".join(parts)]
            self._add_parents(parts)

    def add_file(self, name: str, content: bytes) -> None:
        """Add a file.

        Raises:
            DataError: when there already is a file of this name that is not ignored.
        """
        if joined := self._new(name, self._contents):
            self._contents[joined] = content

    def add_link(self, name: str, target: str, is_hard: bool = False) -> None:
        """Add a link.

        Args:
            name: the link's name.
            target: a name in the archive for a hard link; for a symbolic link a path relative to the link's folder.
            is_hard: whether it is a hard link.

        Raises:
            DataError: when there already is a link of this name that is not ignored.
        """
        if joined := self._new(name, self._links):
            self._links[joined] = target, is_hard

    def leave_out(self, name: str, reason: str) -> None:
        """Record that the member ``name`` is not read, unless its name is ignored anyway."""
        if not any(is_ignored(part) for part in _split(name) if part != ".."):
            self._left_out.append(Member(name, left_out=reason))

    def members(self) -> Iterator[Member]:
        """Yield the files and folders that are not ignored, those that links lead to, and the members left out."""
        yield from self._left_out
        # Each entry: a folder's name, its name after links are followed, and those of all folders that contain either.
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
        """Return the normalized name of a new file or link; empty when it points outside the archive."""
        parts = self._parts(name)
        if not parts:
            return ""
        joined = "/".join(parts)
        if joined in known and not any(map(is_ignored, parts)):
            raise DataError(f"{self.path} holds {joined} twice. Remove one of them.")
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
        """Resolve ``link``: return its target's name and an empty reason, or an empty name and the reason."""
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
            # The target of a hard link is relative to the archive's root, that of a symbolic link to its own folder.
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
