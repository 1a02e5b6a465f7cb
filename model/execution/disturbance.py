"""
Decide whether other programs disturbed a measurement of run times.

`disturbance` is a pure function of the run times and of the cores that other programs took; only
`cpu_seconds_of_others` reads the machine.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles

from model.execution.cores import usable_cores

#: A measurement is disturbed if other programs take more cores than this.
MAX_QUIET_CORES = 0.3

#: ... or if the upper quartile of the runs of a size exceeds their median by more than this factor.
MAX_QUIET_SPREAD = 1.25

#: The kernel counts CPU time in steps of 0.01 s, which say nothing about a shorter measurement.
MIN_WATCHED_SECONDS = 0.1


def quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile of *times*, at least one."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    lower, middle, upper = quantiles(times, n=4, method="inclusive")
    return lower, middle, upper


def disturbance(times: Iterable[Sequence[float]], cores: float | None) -> str | None:
    """
    Return what disturbed a measurement, in words; None if nothing did.

    *times* has, for each size of a batch, the seconds of its runs.  *cores* is the number of cores
    that other programs took meanwhile; None if it is unknown, and only the spread of *times*
    decides.
    """
    if cores is not None and cores > MAX_QUIET_CORES:
        return f"other programs used {cores:.1f} cores"
    spread = median(upper / middle for _, middle, upper in map(quartiles, times))
    if spread > MAX_QUIET_SPREAD:
        return f"a quarter of the runs took at least {spread:.1f} times as long as usual"
    return None


def cpu_seconds_of_others(root: Path = Path("/")) -> float | None:
    """
    Return the CPU seconds that other programs have used since the machine started.

    The time that a hypervisor gives to other machines counts as well.  None if the kernel does not
    report it.  *root* is the folder that holds proc.
    """
    try:
        total = (root / "proc/stat").read_text().splitlines()[0].split()
        user, nice, kernel, _idle, _io_wait, irq, soft_irq, steal = map(int, total[1:9])
    except (OSError, IndexError, ValueError):
        return None
    ticks = user + nice + kernel + irq + soft_irq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def spare_cores() -> int:
    """Return the number of cores of the machine that this process may not use at the same time."""
    return (os.cpu_count() or 1) - usable_cores()


class OtherPrograms:
    """
    Measures the cores that other programs take from this process, from its creation on.

    *seconds* is a monotonic clock.  *read* returns the CPU seconds of other programs so far, or
    None.  *spare* cores of the machine are left to other programs.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        read: Callable[[], float | None] = cpu_seconds_of_others,
        spare: int | None = None,
    ) -> None:
        self._seconds = seconds
        self._read = read
        self._spare = spare_cores() if spare is None else spare
        self._begun = seconds()
        self._used = read()

    def cores(self) -> float | None:
        """Return the average number of cores taken until now; None if it is unknown."""
        passed, used = self._seconds() - self._begun, self._read()
        if passed < MIN_WATCHED_SECONDS or used is None or self._used is None:
            return None
        return max(0.0, (used - self._used) / passed - self._spare)
