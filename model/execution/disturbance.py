"""
Decide whether other programs disturbed a measurement of run times.

`disturbance` is a pure function of the run times and of the share of the cores that other programs
took; `cpu_seconds_of_others` reads that of the machine.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles

from model.execution.cores import usable_cores

#: A measurement is disturbed if other programs take more than this share of the cores.  One busy
#: thread takes a third of two cores from two lanes.
MAX_QUIET_SHARE = 0.15

#: Where that share is not known: it is disturbed if the upper quartile of the runs of most sizes
#: exceeds their median by this factor.  Busy programs raise it by 0 % to 44 %, and runs of less
#: than a millisecond differ by 30 % on a quiet machine, so that the share is the better measure.
MAX_QUIET_SPREAD = 1.25

#: The kernel counts CPU time in steps of 0.01 s, too long for a shorter measurement.
MIN_WATCHED_SECONDS = 0.1


def quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile of *times*, at least one."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    lower, middle, upper = quantiles(times, n=4, method="inclusive")
    return lower, middle, upper


def disturbance(times: Iterable[Sequence[float]], share: float | None) -> str | None:
    """
    Return what disturbed a measurement, in words; None if nothing did.

    *times* has, for each size of a batch, the seconds of its runs.  *share* is that of the cores
    that other programs took meanwhile; None if it is unknown, and only the spread of *times*
    decides.
    """
    if share is not None:
        return f"other programs used {share:.0%} of the cores" if share > MAX_QUIET_SHARE else None
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


class OtherPrograms:
    """
    Measures the share of the cores that other programs take, from its creation on.

    *seconds* is a monotonic clock.  *read* returns the CPU seconds of other programs so far, or
    None.  This process may use *cores* of the machine's *all_cores*; the rest is left to others.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        read: Callable[[], float | None] = cpu_seconds_of_others,
        cores: int | None = None,
        all_cores: int | None = None,
    ) -> None:
        self._seconds = seconds
        self._read = read
        self._cores = cores or usable_cores()
        self._spare = (all_cores or os.cpu_count() or 1) - self._cores
        self._begun = seconds()
        self._used = read()

    def share(self) -> float | None:
        """Return the share, 0 to 1, of the cores of this process until now; None if unknown."""
        passed, used = self._seconds() - self._begun, self._read()
        if passed < MIN_WATCHED_SECONDS or used is None or self._used is None:
            return None
        taken = (used - self._used) / passed - self._spare
        return min(1.0, max(0.0, taken / self._cores))
