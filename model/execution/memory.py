"""
The memory of this process and of the machine, and how it is given back.

Reads /proc and the files of control groups; any thread may call these functions.
"""

import ctypes
import gc
import os
from contextlib import suppress
from pathlib import Path

#: The limit of a control group, and what it uses of it: of version 2, and of version 1.
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
_CGROUP_STATS = (Path("/sys/fs/cgroup/memory.stat"), Path("/sys/fs/cgroup/memory/memory.stat"))


def available_bytes() -> int | None:
    """
    Return how many bytes a process can still allocate without swapping; None if that is unknown.

    It is the lower of what the kernel estimates for the machine and of what is left of the limit
    of the control group; cached files, which the kernel can drop, count as free.
    """
    found = [it for it in (_machine_bytes(), _cgroup_bytes()) if it is not None]
    return min(found) if found else None


def resident_bytes() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_memory() -> None:
    """
    Collect garbage, then give the free memory of the C library back to the kernel.

    Takes tens of milliseconds or more; the interpreter lock is held while garbage is collected.
    """
    gc.collect()
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _machine_bytes() -> int | None:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024
    return None


def _cgroup_bytes() -> int | None:
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):
            # Without a limit, the file holds "max" or a number that no machine has.
            return max(0, int(limit.read_text()) - int(used.read_text()) + _cached_bytes())
    return None


def _cached_bytes() -> int:
    """Return the bytes of the control group that hold files not used lately."""
    for path in _CGROUP_STATS:
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key in ("inactive_file", "total_inactive_file"):
                    return int(value)
    return 0
