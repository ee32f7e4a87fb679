"""One training at a time in a run directory."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cifarnet.errors import RunError, StorageError
from cifarnet.files import write_text

LOCK = ".lock"
OWNER = ".lock.json"
"""Who holds the lock: apart from it, since filelock empties the file that others try to lock."""

FILES = {LOCK, OWNER}


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
        facts = json.loads((directory / OWNER).read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process, which has just begun"
