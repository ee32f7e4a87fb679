"""Writing files so that a crash leaves the old content or the new, never a part of it; and knowing them by checksum."""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from cifarnet.errors import InvalidValueError, StorageError

StrPath = str | os.PathLike[str]
"""A path, or a name that is accepted in place of one."""


def as_path(value: StrPath, what: str) -> Path:
    """Return ``value`` as a path; ``what`` names the argument in messages.

    Raises:
        InvalidValueError: for anything else than a text or a path, and for an empty text.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str) or not text:
        raise InvalidValueError(f"{what} takes a path, as str or pathlib.Path. Received: {value!r:.80}")
    return Path(text)


def require_writable(folder: Path) -> None:
    """Check that files can be written into ``folder``, or that it can be made, without leaving anything.

    Raises:
        StorageError: when the system refuses.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise StorageError(folder, error) from error


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, sync it and rename it over ``path``.

    What ``path`` held before becomes ``previous``, where that is given. The directory is synced too: without that, a
    rename can be lost in a power cut although the file was synced. When anything fails, the temporary file is removed
    and ``path`` stays as it was.

    Raises:
        StorageError: when the system refuses, for want of space or permission, say; also from within the block.
    """
    # The suffix stays last, because writers such as numpy.savez choose the format (or the name) by it. Processes in two
    # containers may have the same number.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
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
    """Sync ``temporary``, rename it over ``path`` in the same folder and sync the folder; see ``replacing``.

    Raises:
        OSError: when the system refuses.
    """
    _sync(temporary, os.O_RDWR)
    _rename(temporary, path, previous)
    if os.name == "posix":
        _sync(path.parent, os.O_RDONLY)


def _rename(temporary: Path, path: Path, previous: Path | None) -> None:
    if previous is None or not path.exists():
        os.replace(temporary, path)
        return
    # Killed between the two, ``previous`` is the newest that is whole: readers of ``path`` must look there too.
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
    """Write ``content``, atomically (see ``replacing``)."""
    with replacing(path, previous) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically (see ``replacing``)."""
    write_bytes(path, text.encode("utf-8"))


def is_leftover(path: Path) -> bool:
    """Whether ``path`` has the name of a temporary file of ``replacing``, left by a process that was killed."""
    return bool(re.fullmatch(r"\..+\.\d+(\.[0-9a-f]{8})?\.tmp(\.\w+)?", path.name))


def remove_leftovers(folder: Path, age: float = 0.0) -> None:
    """Delete the temporary files in ``folder`` that are older than ``age`` seconds, as far as the system allows it.

    Nobody must be writing to younger ones. A ``folder`` that does not exist has none.
    """
    with suppress(OSError):
        for path in filter(is_leftover, folder.iterdir()):
            with suppress(OSError):
                if age <= 0 or time.time() - path.stat().st_mtime > age:
                    path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
