"""
Find the highest rate at which a server keeps an SLO.

A rate keeps the SLO if at least 99 % of the requests sent are answered within it, and breaks it
otherwise; a refusal or an error counts like a late answer.  `next_rate` decides, `find_slo`
measures.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from scripts.load.summary import Summary

#: The share of the requests sent that must be answered within the SLO.
MIN_GOOD_SHARE = 0.99

#: The search ends when the lowest rate that broke the SLO is at most this many times the highest
#: rate that kept it.
MAX_BOUNDS_RATIO = 1.05

#: The factor by which the rate grows until it breaks the SLO, or shrinks until it keeps the SLO.
RATE_STEP_FACTOR = 1.5

#: The most loads measured, those of the curve included.
MAX_LOADS = 18

#: Shares of the rate found that are measured for the curve, after the search.
CURVE_SHARES = (0.25, 0.5, 0.75)

#: Measures an open loop of a rate (requests/s); the number of the load seeds its arrivals.
Measure = Callable[[float, int], Awaitable[Summary]]


@dataclass(frozen=True, slots=True)
class Point:
    """One rate and the summary of the load at that rate."""

    rate: float  #: as requested, in requests a second
    summary: Summary

    @property
    def keeps_slo(self) -> bool:
        """Whether the rate keeps the SLO."""
        return self.summary.sent > 0 and self.summary.good_share >= MIN_GOOD_SHARE


def bounds(points: Sequence[Point]) -> tuple[float | None, float | None]:
    """
    Return the highest rate that kept the SLO, and the lowest rate that broke it; None without one.

    A rate that broke the SLO once counts as broken, and so does every higher rate.
    """
    broke = min((point.rate for point in points if not point.keeps_slo), default=None)
    kept = [
        point.rate for point in points if point.keeps_slo and (broke is None or point.rate < broke)
    ]
    return max(kept, default=None), broke


def next_rate(points: Sequence[Point], first: float) -> float | None:
    """
    Return the next rate to measure, *first* if there are no points; None at the end of the search.

    The search ends when the two `bounds` are at most a factor of `MAX_BOUNDS_RATIO` apart, or when
    a rate of *first*/100 or less breaks the SLO.  Rates are requests a second.
    """
    kept, broke = bounds(points)
    if kept is None and broke is None:
        return first
    if broke is None:
        return (kept or first) * RATE_STEP_FACTOR
    if kept is None:
        return broke / RATE_STEP_FACTOR if broke > first / 100 else None
    return None if broke <= kept * MAX_BOUNDS_RATIO else (kept * broke) ** 0.5


async def find_slo(
    measure: Measure, first: float, on_point: Callable[[Point], object]
) -> tuple[float | None, list[Point]]:
    """
    Return the highest rate that keeps the SLO, or None, and all points, sorted by rate.

    *measure* takes a rate in requests/s and the number of the load; the first rate is *first*.
    *on_point* is called with each point.  The rate found is measured a second time, unless the
    limit `MAX_LOADS` ends the search before, for example because no rate breaks the SLO.
    """
    points: list[Point] = []

    async def measure_at(rate: float) -> Point:
        point = Point(rate, await measure(rate, len(points)))
        points.append(point)
        on_point(point)
        return point

    while len(points) < MAX_LOADS - len(CURVE_SHARES):
        rate = next_rate(points, first)
        if rate is None:
            rate, _ = bounds(points)
            if rate is None or (await measure_at(rate)).keeps_slo:
                break
        else:
            await measure_at(rate)
    best, _ = bounds(points)
    for share in CURVE_SHARES:
        if best is not None:
            await measure_at(best * share)
    best, _ = bounds(points)  # a rate of the curve may have broken
    return best, sorted(points, key=lambda point: point.rate)
