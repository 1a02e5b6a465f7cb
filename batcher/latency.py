"""
The measured service time l(b): how many seconds a run of b rows takes.

Pure: told each measurement, asked for predictions.  Imports nothing of ours but the fit.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from math import sqrt

from batcher.drift import Change, Drift
from batcher.fit import Line, Point, fit_lines

WEIGHT = 0.05  #: of a new measurement in the moving average of its size, once many are in it
WARMED = 3.0  #: measurements that the median of a warm-up's repeats is worth
KNEE = 0.95  #: of the best rows per second; beyond that, size buys next to nothing
NOISE = 0.05  #: of a run's time, relative to it, until it is known
LEAST_NOISE = 0.001  #: no clock is better
INSTANT = 1e-9  #: seconds; no run is shorter
SPAN = 1e-6  #: of the longest run: differences below that are none
NOISE_WEIGHT = 0.02  #: of a new measurement in the noise
OUTLIER = 0.5  #: a run further off than this, relative to what was expected, counts as this far off
REFIT = 32  #: runs after which the lines are fitted anew; more where there are many sizes
DOUBT = 2.0  #: standard errors by which a larger size must be better, unless on the same line
TRIAL = 512  #: runs from one trial to the next, and without a size that is worth one
MARGIN = 1.1  #: the least by which a deadline must exceed what is expected


@dataclass(slots=True)
class _Measured:
    """The moving average of one size."""

    seconds: float
    count: float  #: of measurements that it is worth
    last: int = 0  #: the number of the run that was measured last


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    The sizes worth running, upwards: each brings more rows per second than all before it.

    Up to the knee every size is there.  Beyond, only those that were measured, and those between
    two that lie on one line: a guess between two lines may be far off.  Where a new line begins, it
    must be quicker by more than the noise explains.
    """

    rows: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()  #: rows per second of each
    longest: float = 0.0  #: seconds of a run at the cap
    measured: int = 0  #: the largest size that ever ran
    trial: int = 0  #: a size that has not run for long: what is believed of it may be wrong


class LatencyCurve:
    """
    Seconds per run by rows: moving averages per size, smoothed by as few lines as explain them.

    Predictions never fall as rows grow.  *measured* maps rows to seconds, from a warm-up or an
    earlier life; raises ValueError for rows below 1 or seconds that are negative or not finite.
    """

    __slots__ = (
        "_drift", "_fitted", "_lines", "_measured", "_noise", "_observed", "_runs", "_sizes",
        "_trial", "_trial_at",
    )  # fmt: skip

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._noise = NOISE**2
        self._drift = Drift()
        self._runs = 0
        self._trial = self._trial_at = 0
        self._observed = 0  # since the lines were fitted
        self._measured: dict[int, _Measured] = {}
        for rows, seconds in sorted(measured.items()):
            _check(rows, seconds)
            self._measured[rows] = _Measured(seconds, WARMED)
        self._sizes: dict[int, Sizes] = {}  # by cap
        self._fit()

    def observe(self, rows: int, seconds: float) -> None:
        """Learn that a run of *rows* rows took *seconds*; the first of a size counts in full."""
        _check(rows, seconds)
        expected = self.predict(rows)
        if expected > 0.0:
            error = max(-OUTLIER, min(OUTLIER, seconds / expected - 1.0))
            self._noise += NOISE_WEIGHT * (error * error - self._noise)
        known, change = self._measured.get(rows), None
        if known is not None and known.count >= WARMED and expected > 0.0:
            change = self._drift.observe(seconds / expected, self.noise)
        if known is None:
            self._measured[rows] = _Measured(seconds, 1.0)
        else:
            near = max(known.seconds * (1 - OUTLIER), min(known.seconds * (1 + OUTLIER), seconds))
            known.count = min(known.count + 1.0, 1.0 / WEIGHT)
            known.seconds += (near - known.seconds) / known.count
        self._observed += 1
        self._runs += 1
        self._measured[rows].last = self._runs
        if rows == self._trial:
            self._trial = 0
            self._sizes.clear()
        if change is not None:
            self._rescale(change)
        elif self._observed >= self._patience or self._first_steps:
            self._fit()

    @property
    def noise(self) -> float:
        """The standard deviation of a run's time, relative to what was expected."""
        return sqrt(self._noise)

    @property
    def margin(self) -> float:
        """The factor by which a deadline must exceed what is expected, to be met."""
        return max(MARGIN, 1.0 + 2.0 * self.noise)

    @property
    def fitted(self) -> dict[int, float]:
        """The expected seconds of each size that was measured."""
        return dict(self._fitted)

    def predict(self, rows: int) -> float:
        """
        Return the expected seconds of a run of *rows* rows; 0.0 while nothing is known.

        Linear between measured sizes.  Fewer rows than were ever measured take as long as the
        fewest that were.  More go on along the last line; after a lone size, in proportion.
        """
        known = self._fitted.get(rows)
        if known is not None:
            return known
        sizes = list(self._fitted)
        if not sizes:
            return 0.0
        at = bisect_left(sizes, rows)
        if at == 0:
            return self._fitted[sizes[0]]
        low = sizes[at - 1]
        if at == len(sizes):
            line = self._lines[-1]
            slope = line.slope if line.points > 1 else self._fitted[low] / low
            return self._fitted[low] + slope * (rows - low)
        slope = (self._fitted[sizes[at]] - self._fitted[low]) / (sizes[at] - low)
        return self._fitted[low] + slope * (rows - low)

    def knee(self, max_rows: int) -> int:
        """
        Return the smallest measured size with at least 95 % of the best rows per second.

        Only sizes up to *max_rows* count; where none was measured, *max_rows* itself.
        """
        rates = {rows: _rate(rows, s) for rows, s in self._fitted.items() if rows <= max_rows}
        enough = KNEE * max(rates.values(), default=0.0)
        return next((rows for rows, rate in rates.items() if rate >= enough), max_rows)

    def sizes(self, cap: int) -> Sizes:
        """Return the sizes worth running, up to *cap*; none while nothing is known."""
        sizes = self._sizes.get(cap)
        if sizes is None:
            sizes = self._sizes[cap] = self._worth_running(cap)
        return sizes

    def _worth_running(self, cap: int) -> Sizes:
        knee = self.knee(cap)
        rows: list[int] = []
        rates: list[float] = []
        before = line = None
        hurdle = 0.0
        lines = self._lines_of_sizes()
        for size in range(1, cap + 1) if self._fitted else ():
            if size > knee and size not in lines:
                continue
            if lines.get(size, line) is not line:
                before, line = line, lines[size]
                hurdle = self._doubt(before, line) * max(rates, default=0.0)
            rate = _rate(size, self.predict(size))
            if not rates or rate > max(rates[-1], hurdle):
                rows.append(size)
                rates.append(rate)
        measured = max(self._fitted, default=0)
        return Sizes(tuple(rows), tuple(rates), self.predict(cap), measured, self._trial)

    def _lines_of_sizes(self) -> dict[int, Line]:
        """Return the line of each size that was measured, or lies between two on one line."""
        sizes = list(self._fitted)
        lines: dict[int, Line] = {}
        start = 0
        for line in self._lines:
            on_it = sizes[start : start + line.points]
            lines.update((size, line) for size in range(on_it[0], on_it[-1] + 1))
            start += line.points
        return lines

    def _doubt(self, before: Line | None, line: Line) -> float:
        """
        Return by which factor a rate on *line* must exceed those before, to be believed.

        Noise makes one of several that are equally quick look best; the smallest of them is.
        """
        if before is None:
            return 0.0
        return 1.0 + DOUBT * self.noise * sqrt(2.0 / before.weight + 2.0 / line.weight)

    @property
    def _patience(self) -> int:
        """Runs after which the lines are fitted anew."""
        return max(REFIT, len(self._measured) ** 2 // 16)

    @property
    def _first_steps(self) -> bool:
        """Whether so little is known that each run tells much."""
        return self._runs < REFIT

    def _rescale(self, change: Change) -> None:
        """Believe that all sizes have changed as those did that ran of late."""
        for rows, it in self._measured.items():
            it.seconds = change.factor * self.predict(rows)
        self._noise = min(self._noise, change.variance)
        self._fit()

    def _fit(self) -> None:
        """Smooth the averages."""
        measured = sorted(self._measured.items())
        noise = max(self._noise, LEAST_NOISE**2)
        least = max(INSTANT, SPAN * max((it.seconds for _, it in measured), default=0.0))
        points = []
        for rows, it in measured:
            variance = noise * max(it.seconds, least) ** 2 / it.count
            points.append(Point(rows, it.seconds, it.count, 1.0 / variance))
        self._lines: list[Line] = fit_lines(points)
        of_each = chain.from_iterable(repeat(line, line.points) for line in self._lines)
        values = (line.at(rows) for (rows, _), line in zip(measured, of_each, strict=True))
        self._fitted = dict(
            zip((rows for rows, _ in measured), accumulate(values, max), strict=True)
        )
        self._observed = 0
        self._drift.clear()
        self._choose_trial()
        self._sizes.clear()

    def _choose_trial(self) -> None:
        """
        Choose a size to try now and then.

        One that looked slow, perhaps because the machine was busy when it was measured, would
        otherwise never run again, and look slow for ever.
        """
        if self._trial or self._runs - self._trial_at < TRIAL:
            return
        rows, oldest = min(self._measured.items(), key=lambda each: each[1].last)
        if self._runs - oldest.last >= TRIAL:
            self._trial, self._trial_at = rows, self._runs
            oldest.count = 1.0  # what is old counts for little beside what is new


def _check(rows: int, seconds: float) -> None:
    if rows < 1 or not 0.0 <= seconds < float("inf"):
        raise ValueError(f"no run of {rows} rows takes {seconds} s")


def _rate(rows: int, seconds: float) -> float:
    return rows / max(seconds, INSTANT)
