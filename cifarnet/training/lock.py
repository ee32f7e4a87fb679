"""One training at a time in a run directory."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cifarnet.errors import InvalidValueError, RunError, StorageError
from cifarnet.fields import typed_fields
from cifarnet.files import write_text
from cifarnet.json_files import read_object

LOCK = ".lock"
OWNER = ".lock.json"
"""Who holds the lock: apart from it, since filelock empties the file that others try to lock."""

FILES = {LOCK, OWNER}
_OWNER_LIMIT = 1000


@contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Hold the run in ``directory``, which is made if need be; the system lets go of it when the process dies.

    Raises:
        RunError: when another process holds it, naming that.
        StorageError: when the directory can't be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{directory} is being trained in by {_owner(directory)}. Wait for it, stop it, or choose another --output."
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(directory, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        write_text(directory / OWNER, json.dumps(facts) + "\n")
        yield
    finally:
        with suppress(OSError):
            (directory / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(directory: Path) -> str:
    try:
        owner = _Owner(**typed_fields(_Owner, read_object(directory / OWNER, _OWNER_LIMIT), "The owner of a lock"))
    except InvalidValueError:
        return "another process, which has just begun"
    return f"process {owner.pid} on {owner.host}, since {owner.since}"


@dataclass(frozen=True)
class _Owner:
    pid: int
    host: str
    since: str
