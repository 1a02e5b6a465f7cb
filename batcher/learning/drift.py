"""
Is the machine another than it was?  Told by runs that all take longer, or shorter, of late.

Pure.  What slows one size down, another program or a hot chip, slows down all of them; what is
wrong about one size alone shows in runs of that size, and is left to its average.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import median

LATELY = 8  #: runs that tell, if all are off in one direction
LEAST = 0.1  #: by which the one in their middle must be off, relative to what was expected,
SURE = 3.0  #: and by so many standard errors of a mean
COUNTED = 6  #: of those runs, that tell the new noise


@dataclass(frozen=True, slots=True)
class Change:
    """By what runs differ now."""

    factor: float  #: times what was expected
    variance: float  #: of the runs around that, relative to it


class Drift:
    """The last runs, and what was to be expected of them."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: deque[tuple[int, float]] = deque(maxlen=LATELY)  # rows and seconds

    def clear(self) -> None:
        """Forget all runs: what they showed is believed."""
        self._runs.clear()

    def observe(
        self, rows: int, seconds: float, expected: Callable[[int], float], noise: float
    ) -> Change | None:
        """
        Take in a run of *rows* rows that took *seconds*; return what has changed, if so.

        *expected* are the seconds that a run of so many rows is believed to take now;
        *noise* is the standard deviation of runs relative to that.
        """
        self._runs.append((rows, seconds))
        if len(self._runs) < LATELY:
            return None
        believed = [expected(rows) for rows, _ in self._runs]
        if min(believed) <= 0.0:
            return None
        ratios = [seconds / each for (_, seconds), each in zip(self._runs, believed, strict=True)]
        if min(ratios) <= 1.0 <= max(ratios):
            return None
        # One run that stalled says nothing of the others: no mean.
        factor = median(ratios)
        if factor <= 0.0 or abs(factor - 1.0) < max(LEAST, SURE * noise / sqrt(LATELY)):
            return None
        # Those furthest off may be from before the change.
        off = sorted(abs(ratio / factor - 1.0) for ratio in ratios)[:COUNTED]
        return Change(factor, sum(each * each for each in off) / COUNTED)
