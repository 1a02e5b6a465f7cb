"""
Count the cores that this process may use, and name the processor.

A container may be limited to a share of CPU time, although all cores of the machine are listed in
it.  If the limit is the time of two cores, then three busy threads take turns, even on a machine of
64 cores.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path

from model.execution.control_groups import control_groups

#: The files with the quota and the period of a control group, by its version.
_QUOTA = {1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), 2: ("cpu.max",)}

#: The nice value of threads that must not delay the others.
LOW_PRIORITY = 19

_processes = 1  # which share the cores, this one included


def share_cores(processes: int) -> None:
    """Make `usable_cores` return this process's share: the cores, divided by *processes*."""
    global _processes  # noqa: PLW0603 - set once, when a worker process starts
    _processes = processes


def usable_cores(root: Path = Path("/")) -> int:
    """
    Return the number of cores that this process may use, at least 1.

    A limit of CPU time is rounded up, the share after `share_cores` down.  *root* is
    the folder that holds proc and sys.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(ceil, _quotas(root))]) // _processes)


def cpu_limit(root: Path = Path("/")) -> float | None:
    """
    Return the lowest limit of CPU time that control groups set, in cores; None without one.

    *root* is the folder that holds proc and sys.
    """
    return min(_quotas(root), default=None)


def describe_cpu() -> str:
    """Return the kernel's name for the processor, and the number of cores that may be used."""
    cores = usable_cores()
    return f"{_processor_name()}, {cores} core{'s' if cores > 1 else ''}"


def _processor_name() -> str:
    """Return the kernel's name for the processor, or "CPU"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU {names[0]}" if names else "CPU"


def _quotas(root: Path) -> Iterator[float]:
    """Yield each limit, in cores, that this process's control groups and their parents set."""
    for version, folder in control_groups("cpu", root):
        try:
            quota, period = " ".join((folder / it).read_text() for it in _QUOTA[version]).split()
            if float(quota) > 0:  # no limit is "max" in version 2, -1 in version 1
                yield float(quota) / float(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue


def lower_priority() -> None:
    """
    Let the calling thread run only when the others leave a core idle, or nearly so.

    Threads that it starts have the same low priority.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
