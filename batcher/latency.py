"""
The measured service time l(b): how many seconds a run of b rows takes.

Pure: told each measurement, asked for predictions.  Imports nothing of ours.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

WEIGHT = 0.05  #: of a new measurement in the moving average of its size
KNEE = 0.95  #: of the best rows per second; beyond that, size buys next to nothing


class LatencyCurve:
    """
    Seconds per run by rows: a moving average per size, made monotone.

    Predictions lie on the envelope in which no size is quicker than a smaller one, so noise never
    makes a larger batch look cheaper.  *measured* maps rows to seconds, from a warm-up or an
    earlier life; raises ValueError for rows below 1 or seconds that are negative or not finite.
    """

    __slots__ = ("_measured", "_seconds", "_sizes", "_stale")

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._measured: dict[int, float] = {}
        self._sizes: list[int] = []
        self._seconds: list[float] = []
        self._stale = False
        for rows, seconds in measured.items():
            self.observe(rows, seconds)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn that a run of *rows* rows took *seconds*; the first of a size counts in full."""
        if rows < 1 or not 0.0 <= seconds < float("inf"):
            raise ValueError(f"no run of {rows} rows takes {seconds} s")
        known = self._measured.get(rows)
        self._measured[rows] = seconds if known is None else known + WEIGHT * (seconds - known)
        self._stale = True

    def predict(self, rows: int) -> float:
        """
        Return the expected seconds of a run of *rows* rows; 0.0 while nothing is known.

        Linear between measured sizes.  Fewer rows than were ever measured take as long as the
        fewest that were.  More go on along the line of the last doubling, which one odd
        neighbour cannot tilt; with a single size, in proportion to the rows.
        """
        sizes, seconds = self._envelope()
        if not sizes:
            return 0.0
        at = bisect_left(sizes, rows)
        if at == len(sizes):
            return self._beyond(rows)
        if at == 0 or sizes[at] == rows:
            return seconds[at]
        return _line(rows, sizes[at - 1 : at + 1], seconds[at - 1 : at + 1])

    def knee(self, max_rows: int) -> int:
        """
        Return the smallest measured size with at least 95 % of the best rows per second.

        Only sizes up to *max_rows* count; where none was measured, *max_rows* itself.
        """
        sizes, seconds = self._envelope()
        rates = [
            (size, size / taken if taken > 0.0 else float("inf"))
            for size, taken in zip(sizes, seconds, strict=True)
            if size <= max_rows
        ]
        enough = KNEE * max((rate for _, rate in rates), default=0.0)
        return next((size for size, rate in rates if rate >= enough), max_rows)

    def _beyond(self, rows: int) -> float:
        """Return the expected seconds of more rows than were ever measured."""
        sizes, seconds = self._envelope()
        if len(sizes) == 1:
            return seconds[0] * rows / sizes[0]
        half = max(0, bisect_right(sizes, sizes[-1] / 2) - 1)
        return _line(rows, (sizes[half], sizes[-1]), (seconds[half], seconds[-1]))

    def _envelope(self) -> tuple[list[int], list[float]]:
        """Return sizes and their monotone seconds, made anew only after a measurement."""
        if self._stale:
            self._sizes = sorted(self._measured)
            self._seconds = list(accumulate((self._measured[size] for size in self._sizes), max))
            self._stale = False
        return self._sizes, self._seconds


def _line(rows: int, sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the value at *rows* of the line through two measured points."""
    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
    return seconds[0] + slope * (rows - sizes[0])
