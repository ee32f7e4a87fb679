"""Locks between processes, also on file systems without ``flock``."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LONGEST_WAIT = 60.0
"""Seconds to wait for a lock that is held for a moment only."""

SOFT = ".soft"
"""The suffix of the lock file that is used where ``flock`` is missing."""

# What flock answers on some NFS mounts and in some containers.
_WITHOUT_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def locked(path: Path, timeout: float = LONGEST_WAIT) -> Iterator[None]:
    """Hold the lock file ``path``, whose folder must exist; the system releases it when the process dies.

    A file system without ``flock`` gets a soft lock: ``path`` with the suffix ``.soft`` exists while the lock is held
    and names the process and its host. A soft lock of a dead process of this host is removed. One of another host is
    waited for like a living one, because nobody can tell whether its process lives.

    Raises:
        TimeoutError: when another process holds it for longer than ``timeout`` seconds.
        OSError: when the system refuses.
    """
    lock = _acquired(path, timeout)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()


def _acquired(path: Path, timeout: float) -> "BaseFileLock":
    from filelock import FileLock, SoftFileLock, Timeout

    # FileLock's own fallback takes the file that an earlier flock left behind for a held lock, and waits for ever.
    lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
    remedy = ""
    try:
        try:
            lock.acquire(timeout)
        except OSError as error:
            if error.errno not in _WITHOUT_FLOCK:
                raise
            lock = SoftFileLock(path.with_name(path.name + SOFT))
            remedy = f". If no process of cifarnet uses the folder any more, delete {lock.lock_file}"
            lock.acquire(timeout)
    except Timeout as error:
        raise TimeoutError(errno.ETIMEDOUT, f"another process holds its lock {lock.lock_file}{remedy}") from error
    return lock
