"""Atomic file writes, which leave the old or the new content after a crash, and checksums of files."""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from cifarnet.errors import StorageError, invalid

StrPath = str | os.PathLike[str]
"""A path as text or path object."""


def as_path(value: StrPath, field: str, what: str | None = None, *, taken: str = "a path") -> Path:
    """Return ``value`` of the parameter ``field`` as a path.

    Args:
        value: the argument of the caller.
        field: name of the parameter.
        what: named in messages; by default the parameter.
        taken: what the parameter takes, in words.

    Raises:
        InvalidValueError: when ``value`` is neither text nor a path, is empty, or contains a NUL character.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str):
        valid = f"{taken}, as str or pathlib.Path"
        raise invalid(field, f"takes {valid}", value, valid=valid, received=f"{value!r:.80}", what=what)
    if not text:
        raise invalid(field, f"must not be empty: give {taken}", value, valid=taken, received="''", what=what)
    if "\0" in text:
        raise invalid(field, "takes a path without a NUL character", value, received=f"{value!r:.80}", what=what)
    return Path(text)


def neither_file_nor_folder(path: Path) -> str:
    """Return the message for a ``path`` at which there is something else."""
    return f"{path} is neither a file nor a folder, but a device, pipe or socket. Received: {path}"


def require_writable(folder: Path) -> None:
    """Check that files can be written to ``folder``, or that it can be created, without leaving anything behind.

    Raises:
        StorageError: when they can't.
    """
    try:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise StorageError(folder, error) from error


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to ``path``. When the block succeeds, sync the file and rename it to ``path``.

    An existing file ``path`` is first renamed to ``previous``, if given. The directory is synced too; otherwise a power
    cut could undo the rename of a synced file. When anything fails, the temporary file is removed and ``path`` is
    unchanged.

    Raises:
        StorageError: when an OSError occurs, in the block or here, such as a full disk or a missing permission.
    """
    try:
        # The suffix stays last, because writers such as numpy.savez depend on it. The random part is for processes in
        # two containers, which may have the same process id. The system can refuse random bytes too.
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp{path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            move_into_place(temporary, path, previous)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(path, error) from error


def move_into_place(temporary: Path, path: Path, previous: Path | None = None) -> None:
    """Sync ``temporary``, rename it to ``path`` in the same folder, and sync the folder (see ``replacing``).

    Raises:
        OSError: when that fails.
    """
    _sync(temporary, os.O_RDWR)
    _rename(temporary, path, previous)
    if os.name == "posix":
        _sync(path.parent, os.O_RDONLY)


def _rename(temporary: Path, path: Path, previous: Path | None) -> None:
    if previous is None or not path.exists():
        os.replace(temporary, path)
        return
    # After a kill between the two renames only ``previous`` exists, so readers of ``path`` must look there too.
    os.replace(path, previous)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(previous, path)
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write ``content`` atomically (see ``replacing``)."""
    with replacing(path, previous) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically (see ``replacing``)."""
    write_bytes(path, text.encode("utf-8"))


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` is named like a temporary file of ``replacing``, as a killed process leaves behind."""
    return bool(re.fullmatch(r"\..+\.\d+(\.[0-9a-f]{8})?\.tmp(\.\w+)?", path.name))


def remove_leftovers(folder: Path, age: float = 0.0) -> None:
    """Delete temporary files in ``folder`` that are older than ``age`` seconds, ignoring errors.

    No process may still be writing to files of that age. ``folder`` need not exist.
    """
    with suppress(OSError):
        for path in filter(is_leftover, folder.iterdir()):
            with suppress(OSError):
                if age <= 0 or time.time() - path.stat().st_mtime > age:
                    path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
