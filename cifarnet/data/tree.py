"""A uniform view of folders and archives: files by name. Archives are read into memory, never extracted."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cifarnet.data.archive_contents import MEMBER_LIMIT
from cifarnet.data.archives import read_archive
from cifarnet.data.images import read_file
from cifarnet.data.walk import walk
from cifarnet.errors import DataError

File = Path | bytes
"""A file on disk, or the content of an archive's member."""

FILE_LIMIT = MEMBER_LIMIT
"""The most bytes of one file that ``FileTree.read`` returns."""


@dataclass(frozen=True)
class FileTree:
    """The files and folders of a source.

    Names are POSIX paths relative to the source, in Unicode's normal form C. Hidden and system names (``.git``,
    ``@eaDir``) are skipped.

    Attributes:
        origin: the path of the source.
        files: the files by name.
        folders: the names of the folders, including empty ones.
        left_out: the reason and name of everything else that is not read, such as broken links.
    """

    origin: Path
    files: Mapping[str, File]
    folders: frozenset[str]
    left_out: tuple[tuple[str, str], ...] = ()

    def read(self, name: str, limit: int = FILE_LIMIT) -> bytes:
        """Return the content of the file ``name``.

        Raises:
            DataError: when the file can't be read, or has more than ``limit`` bytes.
        """
        file = self.files[name]
        if isinstance(file, Path):
            return read_file(file, self.display_name(name), limit, advice="")
        if len(file) > limit:
            raise DataError(f"{self.display_name(name)} has more than {limit:,} bytes. Received: {len(file):,} bytes")
        return file

    def display_name(self, name: str) -> str:
        """Return the name of a file or folder for error messages. The empty ``name`` is the source itself."""
        if not name:
            return str(self.origin)
        file = self.files.get(name)
        if file is None and self.origin.is_dir():
            file = self.origin / name
        return str(file) if isinstance(file, Path) else f"{name} in {self.origin}"

    def top_folders(self) -> list[str]:
        """Return the names of the top-level folders, sorted."""
        return sorted(name for name in self.folders if "/" not in name)

    def top_files(self) -> list[str]:
        """Return the names of the top-level files."""
        return [name for name in self.files if "/" not in name]

    def inside(self, folder: str) -> "FileTree":
        """Return the tree of the top-level folder ``folder``."""
        start = len(folder) + 1
        return FileTree(
            self.origin / folder if self.origin.is_dir() else self.origin,
            {name[start:]: file for name, file in self.files.items() if name.startswith(f"{folder}/")},
            frozenset(name[start:] for name in self.folders if name.startswith(f"{folder}/")),
            tuple((reason, name.removeprefix(f"{folder}/")) for reason, name in self.left_out),
        )


@dataclass(frozen=True)
class _Found:
    """A name in a source with its file. ``file`` is None for a folder, and for names with a reason in ``left_out``."""

    name: str
    file: File | None = None
    left_out: str = ""


def read_tree(path: Path) -> FileTree:
    """List the folder ``path``, or read the tar (plain, gz, bz2, xz) or zip archive ``path`` into memory.

    Folders whose names are equal in Unicode's normal form C are one folder.

    Raises:
        DataError: when ``path`` can't be read, holds a name twice, or is a file that is damaged, too large or not an
            archive.
    """
    files: dict[str, File] = {}
    folders: set[str] = set()
    left_out: list[tuple[str, str]] = []
    try:
        for found in _folder(path) if path.is_dir() else _archive(path):
            name = found.name
            if found.left_out:
                left_out.append((found.left_out, name))
                continue
            parts = name.split("/")
            folders.update("/".join(parts[:end]) for end in range(1, len(parts) + (found.file is None)))
            if found.file is None:
                continue
            if name in files:
                raise DataError(f"{path} holds {name} twice. Remove one of them.")
            files[name] = found.file
    except DataError:
        raise
    except Exception as error:
        # Damaged archives raise nearly anything: EOFError, struct.error, RecursionError, MemoryError, ...
        raise DataError(f"{path} can't be read. It may be damaged or truncated: {error!s:.200}") from error
    return FileTree(path, dict(sorted(files.items())), frozenset(folders), tuple(sorted(left_out)))


def _folder(path: Path) -> Iterator[_Found]:
    def refuse(error: OSError) -> None:
        raise error

    root = str(path)
    # Otherwise a folder that can't be listed would look empty.
    for entry in walk(root, refuse):
        relative = entry.path[len(root) :].replace(os.sep, "/").lstrip("/")
        name = unicodedata.normalize("NFC", relative)
        yield _Found(name, None if entry.is_folder else Path(entry.path), entry.left_out)


def _archive(path: Path) -> Iterator[_Found]:
    return (_Found(member.name, member.content, member.left_out) for member in read_archive(path))
