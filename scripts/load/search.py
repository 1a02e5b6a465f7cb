"""
Find the highest rate at which a server keeps its promise.

The promise: of all that is sent, 99 in 100 are answered within the SLO.  A refusal and an error
break it as a late answer does.  `next_rate` decides, `find_slo` measures.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from scripts.load.summary import Summary

#: Of the requests sent, the share that has to be answered in time.
KEPT = 0.99

#: The search ends when the highest rate that kept and the lowest that broke are this close.
CLOSE = 1.05

#: By how much the rate grows, or shrinks, while nothing has broken, or kept.
STEP = 1.5

#: Loads measured at most, those of the curve included.
MOST = 18

#: Shares of the rate found that the curve shows beside what the search measured.
CURVE = (0.25, 0.5, 0.75)

#: Measures an open loop of this rate; the number makes its arrivals its own.
Measure = Callable[[float, int], Awaitable[Summary]]


@dataclass(frozen=True, slots=True)
class Point:
    """One rate, and what it showed."""

    rate: float  #: asked for, requests a second
    summary: Summary

    @property
    def keeps(self) -> bool:
        """Whether the promise was kept."""
        return self.summary.sent > 0 and self.summary.good_share >= KEPT


def bounds(points: Sequence[Point]) -> tuple[float | None, float | None]:
    """
    Return the highest rate that kept, below all that broke, and the lowest rate that broke.

    A rate that once kept and once broke has broken.
    """
    broke = min((point.rate for point in points if not point.keeps), default=None)
    kept = [point.rate for point in points if point.keeps and (broke is None or point.rate < broke)]
    return max(kept, default=None), broke


def next_rate(points: Sequence[Point], first: float) -> float | None:
    """Return the rate to measure next; None when the bounds are `CLOSE`, or hopeless."""
    kept, broke = bounds(points)
    if kept is None and broke is None:
        return first
    if broke is None:
        return (kept or first) * STEP
    if kept is None:
        return broke / STEP if broke > first / 100 else None
    return None if broke <= kept * CLOSE else (kept * broke) ** 0.5


async def find_slo(
    measure: Measure, first: float, tell: Callable[[Point], object]
) -> tuple[float | None, list[Point]]:
    """
    Return the highest rate that keeps the promise, None where none does, and the curve by rate.

    What it found is measured once more before it is believed, unless `MOST` loads are too few for
    that, as where nothing breaks.  *first* is where it begins.
    """
    points: list[Point] = []

    async def take(rate: float) -> Point:
        point = Point(rate, await measure(rate, len(points)))
        points.append(point)
        tell(point)
        return point

    while len(points) < MOST - len(CURVE):
        rate = next_rate(points, first)
        if rate is None:
            rate, _ = bounds(points)
            if rate is None or (await take(rate)).keeps:
                break
        else:
            await take(rate)
    best, _ = bounds(points)
    for share in CURVE:
        if best is not None:
            await take(best * share)
    best, _ = bounds(points)  # a part of the curve may have broken
    return best, sorted(points, key=lambda point: point.rate)
