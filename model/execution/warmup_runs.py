"""
How many runs of a size a warm-up measures, and what it makes of their times.

Pure; imports nothing of ours.
"""

from collections.abc import Sequence
from statistics import fmean

MAX_WARMUP_SECONDS = 1.0  #: for the runs of one size; more if `MIN_WARMUP_RUNS` take longer
MIN_LONG_RUN_SECONDS = 1.0  #: a longer run is measured once: its noise is relatively small
MIN_WARMUP_RUNS, MAX_WARMUP_RUNS = 5, 100  #: runs of one size
TRIM_DIVISOR = 5  #: one in this many times is left out at either end


def warmup_runs(seconds: float) -> int:
    """Return the number of runs of one size in a warm-up, if one run takes *seconds*."""
    if seconds > MIN_LONG_RUN_SECONDS:
        return 1
    if seconds * MAX_WARMUP_RUNS < MAX_WARMUP_SECONDS:
        return MAX_WARMUP_RUNS
    return max(MIN_WARMUP_RUNS, int(MAX_WARMUP_SECONDS / seconds))


def trimmed_mean(times: Sequence[float]) -> float:
    """Return the mean of *times* without the lowest and highest fifth, because some runs stall."""
    apart = len(times) // TRIM_DIVISOR
    return fmean(sorted(times)[apart : len(times) - apart])
