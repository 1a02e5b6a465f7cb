"""
Find the control groups of this process, which limit its CPU time and its memory.

A control group is a folder; a limit of it also holds for all groups below it.  A container, or a
unit of systemd, has a control group of its own.
"""

from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """
    Yield the folder of each control group of this process, and of each group above it.

    Each folder comes with the version of its control groups, 1 or 2.  *controller* is "cpu" or
    "memory"; *root* is the folder that holds proc and sys.  A folder may be absent: a container may
    see the path that its group has on the machine, and only its own group, at the mount.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            version, mount = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, mount = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        path = mount / group.lstrip("/")
        for folder in (path, *path.parents):
            yield version, folder
            if folder == mount:
                break
