"""
Fit straight lines to noisy measurements, as few as explain them.

A run's time over its rows is a line until something changes: a tile is full, a cache is, another
kernel is chosen.  Within a line the noise averages out; a step is believed once it stands out of
the noise.  Pure; imports nothing of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

#: What one more line must explain, in variances of the noise: fewer and it fits the noise.
PENALTY = 16.0


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at *x*."""

    x: float
    y: float
    count: float  #: of measurements that *y* is worth
    weight: float  #: one over its variance


@dataclass(frozen=True, slots=True)
class Line:
    """A line that never falls."""

    start: float  #: at x = 0
    slope: float
    points: int  #: that it explains
    weight: float  #: the measurements that these are worth

    def at(self, x: float) -> float:
        """Return the value at *x*."""
        return self.start + self.slope * x


def fit_lines(points: Sequence[Point]) -> list[Line]:
    """
    Return the lines that explain *points*, which ascend in x, from left to right.

    The sum of squared errors, in variances, and `PENALTY` for each line are least; the time taken
    grows with the square of the points.
    """
    sums = [
        [0.0, *accumulate(terms)]
        for terms in zip(*(_moments(point) for point in points), strict=True)
    ]
    costs = [0.0]
    last: list[tuple[int, float, float]] = []
    for stop in range(1, len(points) + 1):
        cost, begin, start, slope = min(
            (costs[begin] + error, begin, start, slope)
            for begin in range(stop)
            for error, start, slope in (_line(sums, begin, stop),)
        )
        costs.append(cost + PENALTY)
        last.append((begin, start, slope))
    lines: list[Line] = []
    stop = len(points)
    while stop:
        begin, start, slope = last[stop - 1]
        weight = sum(point.count for point in points[begin:stop])
        lines.append(Line(start, slope, stop - begin, weight))
        stop = begin
    return lines[::-1]


def _moments(point: Point) -> tuple[float, ...]:
    x, y, w = point.x, point.y, point.weight
    return w, w * x, w * y, w * x * x, w * x * y, w * y * y


def _line(sums: Sequence[Sequence[float]], begin: int, stop: int) -> tuple[float, float, float]:
    """Return the squared error, the start and the slope of the best line that never falls."""
    w, x, y, xx, xy, yy = (total[stop] - total[begin] for total in sums)
    spread = xx - x * x / w
    covary = xy - x * y / w
    slope = max(0.0, covary / spread) if stop - begin > 1 and spread > 0.0 else 0.0
    start = (y - slope * x) / w
    return yy - y * y / w - slope * (2.0 * covary - slope * spread), start, slope
