"""The limit above which arrays of images are kept on disk instead of in memory and on the device."""

import os
from contextlib import suppress
from pathlib import Path

LARGEST_IN_MEMORY = 4 << 30
"""The most bytes of images in one array that are kept in memory."""
MEMORY_SHARE = 4
"""Images take at most this part of the machine's memory: the same images may be in memory and on the device."""

# The memory limits of control groups, versions 2 and 1, in bytes. ``max`` is no limit.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def array_limit() -> int:
    """Return the most bytes of an array of images in memory: 4 GiB, or a quarter of the memory of the machine."""
    known = memory()
    return LARGEST_IN_MEMORY if known is None else min(LARGEST_IN_MEMORY, known // MEMORY_SHARE)


def available_memory() -> int | None:
    """Return the bytes of memory that programs do not use now; None where that is unknown."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, used in zip(_LIMITS, _USED, strict=True):
        with suppress(OSError, ValueError):
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return min(found, default=None)


def memory() -> int | None:
    """Return the bytes of memory that the process may use; None where that is unknown."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf.
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(path).read_text()))
    return min((each for each in found if each > 0), default=None)
