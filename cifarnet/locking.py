"""Locks between processes, also on file systems without ``flock``."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LONGEST_WAIT = 60.0
"""Seconds to wait for a lock that is only held briefly."""

SOFT = ".soft"
"""The suffix of the lock file that is used without ``flock``."""

# The errors of flock on some NFS mounts and in some containers.
_WITHOUT_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def locked(path: Path, timeout: float = LONGEST_WAIT) -> Iterator[None]:
    """Hold the lock file ``path``, whose folder must exist. The system releases the lock when the process ends.

    On a file system without ``flock`` a soft lock is used: the file ``path`` with the suffix ``.soft`` exists while the
    lock is held, and names the process and its host. The soft lock of a dead process on this host is removed. A soft
    lock of another host is always waited for, because it is unknown whether its process is alive.

    Raises:
        TimeoutError: when another process holds the lock for longer than ``timeout`` seconds.
        OSError: when the lock file can't be created.
    """
    lock = _acquired(path, timeout)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()


def _acquired(path: Path, timeout: float) -> "BaseFileLock":
    from filelock import FileLock, SoftFileLock, Timeout

    # FileLock's own fallback mistakes the file that an earlier flock left behind for a held lock, and waits forever.
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
