"""
The counts of a histogram.  Pure, and imports no numpy: the supervisor of workers adds them up.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistogramCounts:
    """How many values are in each bucket; a value that equals a bound is below it."""

    bounds: tuple[float, ...]  #: upper bounds, ascending, without infinity
    counts: tuple[int, ...]  #: of each bucket alone; the last one is above all bounds
    sum: float  #: of all values
