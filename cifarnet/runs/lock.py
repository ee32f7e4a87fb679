"""One training at a time in a run directory."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from cifarnet.errors import InvalidValueError, LostRunError, RunError, StorageError
from cifarnet.fields import typed_fields
from cifarnet.files import write_text
from cifarnet.json_files import read_object
from cifarnet.locking import SOFT, locked
from cifarnet.shell import command_line

LOCK = ".lock"
OWNER = ".lock.json"
"""The file that names the holder of the lock. It is a separate file, because filelock empties the locked one."""

FILES = {LOCK, LOCK + SOFT, OWNER}
_OWNER_LIMIT = 1000


@contextmanager
def run_lock(directory: Path, *, is_new: bool = False) -> Iterator[Callable[[], None]]:
    """Lock the run in ``directory``, which is created if necessary. The system unlocks it when the process ends.

    Yields a function that raises a ``LostRunError`` if the directory is no longer at its path. For a new run
    (``is_new``), the message of the ``RunError`` also suggests another directory.

    Raises:
        RunError: when another process holds the lock. The message names the process.
        StorageError: when the directory can't be written to.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory / LOCK, timeout=0))
            descriptor = _opened(directory)
        except TimeoutError:
            soft = directory / f"{LOCK}{SOFT}"
            advice = "Wait for it, stop it, or choose another `directory`." if is_new else "Wait for it, or stop it."
            remedy = f" If that process has ended, delete {soft}." if soft.exists() else ""
            raise RunError(f"{directory} is in use by a training: {_owner(directory)}. {advice}{remedy}") from None
        except OSError as error:
            raise StorageError(directory, error) from error
        if descriptor is not None:
            stack.callback(os.close, descriptor)
        stack.callback(_remove_owner, directory, descriptor)
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        write_text(directory / OWNER, json.dumps(facts) + "\n")
        yield partial(_require_in_place, directory, descriptor)


def _opened(directory: Path) -> int | None:
    """Return a descriptor of ``directory``, which keeps its inode number reserved while it is open; None on Windows."""
    return os.open(directory, os.O_RDONLY) if os.name == "posix" else None


def _remove_owner(directory: Path, descriptor: int | None) -> None:
    # Another training may have started at the path of a directory that was moved.
    with suppress(OSError, LostRunError):
        _require_in_place(directory, descriptor)
        (directory / OWNER).unlink(missing_ok=True)


def _require_in_place(directory: Path, descriptor: int | None) -> None:
    """Check that ``directory`` is the one that ``descriptor`` has open.

    Raises:
        LostRunError: when it was deleted, moved or replaced.
    """
    if descriptor is None:  # Windows does not delete or move a directory in which a file is locked.
        return
    try:
        found = os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except OSError:
        # The disk may be available again later.
        return
    if found and os.path.samestat(found, os.fstat(descriptor)):
        return
    if place := _place_of(descriptor):
        raise LostRunError(
            f"{directory} was moved to {place} while its run was being trained, so the training has stopped. Continue"
            f" with what is saved there: {command_line('train', '--resume', place)}"
        )
    what = "replaced by something else" if found else "deleted"
    raise LostRunError(
        f"{directory} was {what} while its run was being trained, so the training has stopped and has no result. Train"
        " again with another `directory`."
    )


def _place_of(descriptor: int) -> Path | None:
    """Return the current path of an open directory; None if it was deleted, or if the system is not Linux."""
    try:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        return place if os.path.samestat(os.stat(place), os.fstat(descriptor)) else None
    except OSError:
        return None


def _owner(directory: Path) -> str:
    try:
        owner = _Owner(**typed_fields(_Owner, read_object(directory / OWNER, _OWNER_LIMIT), "The owner of a lock"))
    except InvalidValueError:
        return "another process, which has just started"
    return f"process {owner.pid} on {owner.host}, since {owner.since}"


@dataclass(frozen=True)
class _Owner:
    pid: int
    host: str
    since: str
