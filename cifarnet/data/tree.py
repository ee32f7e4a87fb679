"""A folder or an archive as one thing: names with files behind them. Archives are read into memory, never extracted."""

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

from cifarnet.errors import DataError

File = Path | bytes
"""A file on disk, or the content of an archive's member."""

# An archive is held in memory: these bound what a decompression bomb can take. CIFAR-10 is 184 MB, packed 170; what
# unpacks to hundreds of times its size, gzip's most being a thousand, holds no pictures.
MEMBER_LIMIT = 2 << 30
ARCHIVE_LIMIT = 4 << 30
RATIO_LIMIT = 200
RATIO_FROM = 64 << 20

Entry = tuple[str, File | None]
"""A name and its file; None for a folder."""

# Symbolic links are followed down to class folders (images/train/cat), no deeper: one to a parent would never end.
_LINK_DEPTH = 3
_ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError)


@dataclass(frozen=True)
class FileTree:
    """Files by POSIX name relative to the source's root, and the names of its folders, empty ones included.

    Hidden names (``.git``, ``__MACOSX``) are left out, and so are leading folders that hold everything else
    (``./``, ``images/``).
    """

    origin: Path
    files: Mapping[str, File]
    folders: frozenset[str]

    def read(self, name: str) -> bytes:
        """The content of the file ``name``.

        Raises:
            DataError: when the file can't be read.
        """
        file = self.files[name]
        try:
            return file if isinstance(file, bytes) else file.read_bytes()
        except OSError as error:
            raise DataError(f"{self.told(name)} can't be read: {error.strerror}.") from error

    def told(self, name: str) -> str:
        """What error messages call the file or folder ``name``."""
        file = self.files.get(name)
        if file is None and self.origin.is_dir():
            file = self.origin / name
        return str(file) if isinstance(file, Path) else f"{name} in {self.origin}"


def read_tree(path: Path) -> FileTree:
    """List the folder ``path``, or read the tar (plain, gz, bz2, xz) or zip archive ``path`` into memory.

    Links and devices in archives are left out.

    Raises:
        DataError: when ``path`` can't be read, or is a file that is no archive, damaged or too large.
    """
    files: dict[str, File] = {}
    folders: set[str] = set()
    try:
        for name, file in _entries(path):
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if any(part.startswith(".") or part == "__MACOSX" for part in parts):
                continue
            folders.update("/".join(parts[:end]) for end in range(1, len(parts) + (file is None)))
            if file is not None:
                joined = "/".join(parts)
                if joined in files:
                    raise DataError(f"{path} holds {joined} twice: which of them is meant can't be known.")
                files[joined] = file
    except (OSError, EOFError, RuntimeError, ValueError, *_ARCHIVE_ERRORS) as error:
        # RuntimeError: an encrypted zip, or (as NotImplementedError) a compression that Python lacks.
        raise DataError(f"{path} can't be read, it may be damaged or truncated: {error}") from error
    return _without_leading_folders(FileTree(path, dict(sorted(files.items())), frozenset(folders)))


def _entries(path: Path) -> Iterator[Entry]:
    if path.is_dir():
        return _folder_entries(path)
    # Tar first: a tar that ends with a stored zip passes for a zip as well.
    if tarfile.is_tarfile(path):
        return _tar_entries(path)
    if zipfile.is_zipfile(path):
        return _zip_entries(path)
    raise DataError(f"{path} is neither a folder nor a tar, zip or .npz file, or it is damaged.")


def _folder_entries(path: Path) -> Iterator[Entry]:
    def refuse(error: OSError) -> None:
        raise error

    # Without onerror, a folder that can't be read would look empty.
    for folder, subfolders, names in os.walk(path, onerror=refuse, followlinks=True):
        relative = Path(folder).relative_to(path)
        if len(relative.parts) >= _LINK_DEPTH:
            subfolders[:] = [name for name in subfolders if not os.path.islink(os.path.join(folder, name))]
        prefix = relative.as_posix()
        yield from ((f"{prefix}/{name}", None) for name in subfolders)
        yield from ((f"{prefix}/{name}", Path(folder, name)) for name in names)


def _tar_entries(path: Path) -> Iterator[Entry]:
    with tarfile.open(path) as archive:
        total, packed = 0, path.stat().st_size
        for member in archive:
            total = _within_limits(path, packed, member.name, member.size, total)
            if member.isdir():
                yield member.name, None
            elif member.isreg() and (content := archive.extractfile(member)):
                yield member.name, content.read()


def _zip_entries(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        total, packed = 0, path.stat().st_size
        for member in archive.infolist():
            total = _within_limits(path, packed, member.filename, member.file_size, total)
            if member.is_dir():
                yield member.filename, None
            elif not stat.S_ISLNK(member.external_attr >> 16):
                yield member.filename, archive.read(member)


def _within_limits(path: Path, packed: int, name: str, size: int, total: int) -> int:
    """``total + size``, unless that is more than an archive of ``packed`` bytes, read into memory, may hold."""
    if total + size > max(RATIO_FROM, RATIO_LIMIT * packed):
        raise DataError(
            f"{path} unpacks to more than {RATIO_LIMIT} times its size ({packed:,} bytes), at {name}: it looks like a"
            " decompression bomb. If it is none, unpack it and name the folder."
        )
    if size > MEMBER_LIMIT or total + size > ARCHIVE_LIMIT:
        raise DataError(
            f"{path} holds too much to be read into memory: {name} has {size:,} bytes after {total:,} before it;"
            f" the limits are {MEMBER_LIMIT:,} a file and {ARCHIVE_LIMIT:,} in all. Unpack it and name the folder."
        )
    return total + size


def _without_leading_folders(tree: FileTree) -> FileTree:
    tops = {name.split("/")[0] for name in (*tree.files, *tree.folders)}
    if len(tops) != 1 or (top := tops.pop()) in tree.files or top in ("train", "test"):
        return tree
    start = len(top) + 1
    inner = FileTree(
        tree.origin / top if tree.origin.is_dir() else tree.origin,
        {name[start:]: file for name, file in tree.files.items()},
        frozenset(name[start:] for name in tree.folders if name != top),
    )
    return _without_leading_folders(inner)
