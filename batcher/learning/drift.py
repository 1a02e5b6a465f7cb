"""
Detect that the machine's speed has changed: the last runs all took longer, or all shorter.

Pure.  Another program or a hot chip slows the runs of all sizes down.  If the runs of one size
alone deviate, the moving average of that size is wrong, and these runs correct it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import median

WINDOW_RUNS = 8  #: the number of last runs, which must all deviate in one direction
MIN_CHANGE = 0.1  #: the least deviation of their median, relative to the expected time,
MIN_STANDARD_ERRORS = 3.0  #: and the least in standard errors of a mean
NOISE_RUNS = 6  #: the runs nearest to the median, from which the new noise is estimated


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the machine's speed."""

    factor: float  #: the new time of a run divided by the time expected before
    variance: float  #: the variance of runs around the new time, relative to it


class Drift:
    """Detects a change of the machine's speed from the last `WINDOW_RUNS` runs."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: deque[tuple[int, float]] = deque(maxlen=WINDOW_RUNS)  # rows and seconds

    def clear(self) -> None:
        """Remove all runs; to be called after a correction of the expected times."""
        self._runs.clear()

    def observe(
        self, rows: int, seconds: float, expected: Callable[[int], float], noise: float
    ) -> Change | None:
        """
        Add a run of *rows* rows that took *seconds*; return the change, None if there is none.

        *expected* maps the rows of a run to its expected seconds; *noise* is the standard
        deviation of run times, relative to the expected time.
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
