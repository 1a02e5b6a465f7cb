"""
Count the cores that this process may use.

A container may be limited to a share of CPU time, which does not change the number of cores that it
sees: limited to the time of two cores on a machine with 64, more than two busy threads take turns.
"""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many threads can be busy at once, at least 1; /proc and /sys are in *root*."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limit, in cores, of each control group of this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        files: tuple[str, ...]
        if number == "0":
            mount, files = root / "sys/fs/cgroup", ("cpu.max",)
        elif "cpu" in controllers.split(","):
            mount, files = root / "sys/fs/cgroup/cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        path = mount / group.lstrip("/")
        for folder in (path, *path.parents):
            yield from _quota(folder, files)
            if folder == mount:
                break


def _quota(folder: Path, files: tuple[str, ...]) -> Iterator[float]:
    """Yield the limit that *folder* sets, if it sets one."""
    try:
        quota, period = " ".join((folder / file).read_text() for file in files).split()
        if float(quota) > 0:  # no limit is "max" in cgroup version 2, -1 in version 1
            yield float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return
