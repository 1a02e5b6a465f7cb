"""
Measure the CPU time of the calling thread, and the time it waited for a free core.

A client that waits for a core sends requests as late as a client that is too slow.  Linux counts
both times; on other kernels only the CPU time is known.
"""

import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(frozen=True, slots=True)
class ThreadCPU:
    """Seconds of one thread since it began, or between two measurements."""

    used: float = 0.0  #: running on a core
    waited: float = 0.0  #: ready to run, with no core free

    def since(self, before: "ThreadCPU") -> "ThreadCPU":
        """Return the seconds from the measurement *before* to this one."""
        return ThreadCPU(self.used - before.used, self.waited - before.waited)


def thread_cpu() -> ThreadCPU:
    """Return the seconds of the calling thread since it began; `waited` is 0 if it is not known."""
    try:
        used, waited, _ = map(int, _SCHEDSTAT.read_text().split())
    except (OSError, ValueError):
        return ThreadCPU(time.thread_time())
    return ThreadCPU(used / 1e9, waited / 1e9)
