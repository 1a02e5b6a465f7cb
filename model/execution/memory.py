"""
The memory of this process and of the machine, and how it is given back.

Reads /proc and the files of control groups; any thread may call these functions.
"""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model.execution.control_groups import control_groups

#: The files with the limit of a control group and with what it uses, by its version.
_LIMIT_AND_USE = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
}
#: The cached files of a control group and of those below it, which the kernel drops first.
_INACTIVE_FILES = {1: "total_inactive_file", 2: "inactive_file"}


def available_bytes(root: Path = Path("/")) -> int | None:
    """
    Return how many bytes a process can still allocate without swapping; None if that is unknown.

    It is the lowest of what the kernel estimates for the machine and of what is left of the limit
    of each control group of this process; cached files, which the kernel can drop, count as free.
    *root* is the folder that holds proc and sys.
    """
    return min((*_machine_bytes(root), *_group_bytes(root)), default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """
    Return the bytes of memory of the machine, or the lowest limit of a control group of this
    process if that is less; None if both are unknown.

    *root* is the folder that holds proc and sys.
    """
    limits = []
    with suppress(OSError, ValueError):
        total = _number_after("MemTotal:", root / "proc/meminfo")
        limits += [total * 1024] if total is not None else []
    for version, folder in control_groups("memory", root):
        with suppress(OSError, ValueError):
            limits.append(int((folder / _LIMIT_AND_USE[version][0]).read_text()))
    return min(limits, default=None)


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


def _machine_bytes(root: Path) -> Iterator[int]:
    """Yield what the kernel estimates to be available, if it does."""
    with suppress(OSError, ValueError):
        available = _number_after("MemAvailable:", root / "proc/meminfo")
        if available is not None:
            yield available * 1024


def _group_bytes(root: Path) -> Iterator[int]:
    """Yield what is left of each limit that this process's control groups and their parents set."""
    for version, folder in control_groups("memory", root):
        with suppress(OSError, ValueError):
            # Without a limit, the file holds "max" or a number that no machine has.
            limit, used = (int((folder / it).read_text()) for it in _LIMIT_AND_USE[version])
            yield max(0, limit - used + _cached_bytes(version, folder))


def _cached_bytes(version: int, folder: Path) -> int:
    """Return the bytes of the control group that hold files not used lately; 0 if unknown."""
    with suppress(OSError, ValueError):
        return _number_after(_INACTIVE_FILES[version], folder / "memory.stat") or 0
    return 0


def _number_after(word: str, path: Path) -> int | None:
    """
    Return the number after *word* at the beginning of a line of the file at *path*; None if absent.

    Raises OSError if the file cannot be read, and ValueError if there is no number.
    """
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == word:
            return int(words[1])
    return None
