"""
Detect that the speed of the machine has changed: recent runs all take longer, or all shorter.

Pure.  Another program or a hot chip slows all sizes down.  An error of one size alone shows in the
runs of that size, and is left to its average.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import median

WINDOW_RUNS = 8  #: runs that must all deviate in one direction
MIN_CHANGE = 0.1  #: the least deviation of their median, relative to the expected time,
MIN_STANDARD_ERRORS = 3.0  #: and the least in standard errors of a mean
NOISE_RUNS = 6  #: of the runs, those nearest to the median, from which the new noise is estimated


@dataclass(frozen=True, slots=True)
class Change:
    """How the times of runs have changed."""

    factor: float  #: the new time divided by the expected time
    variance: float  #: of runs around the new time, relative to it


class Drift:
    """The recent runs."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: deque[tuple[int, float]] = deque(maxlen=WINDOW_RUNS)  # rows and seconds

    def clear(self) -> None:
        """Forget all runs; called when the expected times have been corrected."""
        self._runs.clear()

    def observe(
        self, rows: int, seconds: float, expected: Callable[[int], float], noise: float
    ) -> Change | None:
        """
        Add a run of *rows* rows that took *seconds*; return the change, if there is one.

        *expected* returns the seconds expected now of a run of a size; *noise* is the standard
        deviation of runs, relative to that.
        """
        self._runs.append((rows, seconds))
        if len(self._runs) < WINDOW_RUNS:
            return None
        predicted = [expected(rows) for rows, _ in self._runs]
        if min(predicted) <= 0.0:
            return None
        ratios = [seconds / each for (_, seconds), each in zip(self._runs, predicted, strict=True)]
        if min(ratios) <= 1.0 <= max(ratios):
            return None
        # The median, not the mean: one stalled run is no evidence of a change.
        factor = median(ratios)
        least = max(MIN_CHANGE, MIN_STANDARD_ERRORS * noise / sqrt(WINDOW_RUNS))
        if factor <= 0.0 or abs(factor - 1.0) < least:
            return None
        # The runs with the largest deviations may be from before the change.
        deviations = sorted(abs(ratio / factor - 1.0) for ratio in ratios)[:NOISE_RUNS]
        return Change(factor, sum(each * each for each in deviations) / NOISE_RUNS)
