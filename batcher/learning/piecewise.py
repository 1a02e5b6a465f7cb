"""
Fit straight lines to noisy measurements, as few as explain them.

The time of a run is linear in its rows until something changes: a tile or a cache is full, or
another kernel is chosen.  Within a line the noise averages out; a step is fitted once it exceeds
the noise.  Pure; imports nothing of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log

#: The squared error, in variances of the noise, that one more line must explain: a line that
#: explains less would fit the noise.  It is lower in a wide gap, because a change anywhere in the
#: gap appears at its end.
LINE_PENALTY, MIN_LINE_PENALTY = 10.0, 1.5


@dataclass(frozen=True, slots=True)
class Point:
    """A measurement *y* at *x*."""

    x: float
    y: float
    weight: float  #: 1 / variance of y


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line with a start and a slope of at least 0."""

    start: float  #: the value at x = 0
    slope: float
    points: int = 1  #: number of measurements that it explains

    def at(self, x: float) -> float:
        """Return the value at *x*."""
        return self.start + self.slope * x


def fit_lines(points: Sequence[Point]) -> list[Line]:
    """
    Return the lines that explain *points*, from left to right; *points* must ascend in x.

    Minimises the sum of the squared errors, in variances, plus a penalty for each line.  The time
    of a call grows with the square of the number of points.
    """
    sums = [
        [0.0, *accumulate(terms)]
        for terms in zip(*(_moments(point) for point in points), strict=True)
    ]
    gaps = (after.x - before.x for before, after in pairwise(points))
    lower = (max(MIN_LINE_PENALTY, LINE_PENALTY - 2.0 * log(gap)) for gap in gaps)
    penalties = [LINE_PENALTY, *lower]
    # For the points before each index: the least cost, and the first point of the last line.
    best = [(0.0, 0)]
    for stop in range(1, len(points) + 1):
        best.append(
            min(
                (best[begin][0] + penalties[begin] + _squares(sums, begin, stop), begin)
                for begin in range(stop)
            )
        )
    lines: list[Line] = []
    stop = len(points)
    while stop:
        begin = best[stop][1]
        lines.append(_line(sums, begin, stop))
        stop = begin
    return lines[::-1]


def _moments(point: Point) -> tuple[float, ...]:
    x, y, w = point.x, point.y, point.weight
    return w, w * x, w * y, w * x * x, w * x * y, w * y * y


def _squares(sums: Sequence[Sequence[float]], begin: int, stop: int) -> float:
    """Return the least sum of weighted squared errors of one `Line`, for points[begin:stop]."""
    w, x, y, xx, xy, yy = (total[stop] - total[begin] for total in sums)
    start, slope = _fit(w, x, y, xx, xy)
    return yy - xy * slope - y * start


def _line(sums: Sequence[Sequence[float]], begin: int, stop: int) -> Line:
    w, x, y, xx, xy, _ = (total[stop] - total[begin] for total in sums)
    return Line(*_fit(w, x, y, xx, xy), stop - begin)


def _fit(w: float, x: float, y: float, xx: float, xy: float) -> tuple[float, float]:
    """Return the best start and slope of at least 0, from weighted sums over the points."""
    covary = xy - x * y / w
    spread = xx - x * x / w
    if covary <= 0.0 or spread <= 0.0:
        return y / w, 0.0
    slope = covary / spread
    start = (y - slope * x) / w
    return (start, slope) if start >= 0.0 else (0.0, xy / xx)
