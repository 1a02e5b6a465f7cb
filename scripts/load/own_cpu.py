"""
Tell what this thread has had of a core, and what it wanted.

A client that waits for a core is as late as one that is too slow.  Linux counts both; where the
kernel does not, only the CPU time is known.
"""

import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(frozen=True, slots=True)
class CPU:
    """Seconds, since the thread began or between two looks."""

    used: float = 0.0  #: on a core
    waited: float = 0.0  #: ready to run, with no core free

    def since(self, before: "CPU") -> "CPU":
        """Return what came after *before*."""
        return CPU(self.used - before.used, self.waited - before.waited)


def own_cpu() -> CPU:
    """Return what the calling thread has used and waited for until now."""
    try:
        used, waited, _ = map(int, _SCHEDSTAT.read_text().split())
    except (OSError, ValueError):
        return CPU(time.thread_time())
    return CPU(used / 1e9, waited / 1e9)
