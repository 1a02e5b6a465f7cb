"""
The measured service time l(b): how many seconds a run of b rows takes.

It has two parts: what the run itself takes, which is learned of each size, and the way to the lane
and back, which is learned of all sizes together: a busy reactor or machine makes some runs wait,
and that says nothing of their size.

Pure: told each measurement, asked for predictions.  Imports nothing of ours but the fit, what is
made of it, the sizes worth running, and what tells that the machine has changed.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from math import sqrt
from statistics import fmean

from batcher.learning.drift import Change, Drift
from batcher.learning.piecewise import Line, Point, fit_lines
from batcher.learning.sizes import INSTANT, KNEE, Estimate, Sizes, choose, rate_of

WEIGHT = 1 / 256  #: of a new measurement in the moving average of its size, once many are in it
MOST = 2.0 / WEIGHT - 1.0  #: measurements that such an average is worth
WARM_SECONDS = 1.0  #: that a warm-up may spend on a size where its runs are many
LONG_RUN = 1.0  #: seconds; a longer run is measured once: the noise is small beside it
FEWEST, MOST_REPEATS = 5, 100  #: runs of a size in a warm-up, at least and at most
APART = 5  #: one in so many runs of a warm-up is left out as too short, and one as too long
TYPICAL = 0.88  #: of the measurements in what is typical, those in an average that is as good
LITTLE = 3.0  #: fewer measurements of a size tell nothing of a change
GUESS = 32.0  #: measurements that an average is worth at most after a change
NOISE = 0.05  #: of a run's time, relative to it, until it is known
LEAST_NOISE = 0.001  #: no clock is better
SPAN = 1e-6  #: of the longest run: differences below that are none
NOISE_WEIGHT = 0.02  #: of a new measurement in the noise
OUTLIER = 0.5  #: a run further off than this, relative to the average, counts as this far off
REFIT = 32  #: runs after which the lines are fitted anew; more where there are many sizes
NEWS = 4.0  #: standard errors from the lines: they are fitted anew soon,
GROWN = 1.5  #: and so they are where a size has so many times the measurements that it had
AGAIN = 16.0  #: runs for each measurement that a size is worth, until it has not run for long
WAY_WEIGHT = 0.05  #: of a new measurement in the time of the way
WAY_OUTLIER = 3.0  #: a way longer than so many times the usual counts as so long,
WAY_LEAST = 0.0005  #: or as so many seconds, if that is more
MARGIN = 1.1  #: the least by which a deadline must exceed what is expected


def warm_repeats(seconds: float) -> int:
    """Return how many runs a warm-up times of a size whose runs take *seconds*."""
    if seconds > LONG_RUN:
        return 1
    return max(FEWEST, min(MOST_REPEATS, int(WARM_SECONDS / max(seconds, INSTANT))))


def typical(times: Sequence[float]) -> float:
    """Return the mean of *times* without a fifth at either end, rounded down: some runs stall."""
    apart = len(times) // APART
    return fmean(sorted(times)[apart : len(times) - apart])


@dataclass(slots=True)
class _Measured:
    """The moving average of one size."""

    seconds: float
    count: float  #: of measurements that it is worth
    last: int = 0  #: the number of the run that was measured last
    believed: float = 0.0  #: what the seconds were when the lines were fitted,
    fitted: float = 0.0  #: and what the count was


class LatencyCurve:
    """
    Seconds per run by rows: moving averages per size, smoothed by as few lines as explain them.

    To what the runs take, the time of the way to their lane and back is added.  Predictions never
    fall as rows grow.  *measured* maps rows to the seconds of runs: what is `typical` of as many in
    a warm-up as `warm_repeats` says; raises ValueError for rows below 1 or seconds that are
    negative or not finite.
    """

    __slots__ = (
        "_drift", "_fitted", "_lines", "_measured", "_noise", "_observed", "_predicted", "_runs",
        "_sizes", "_spent", "_way", "_way_variance", "_ways",
    )  # fmt: skip

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._noise = NOISE**2
        self._drift = Drift()
        self._runs = 0
        self._spent = 0.0  # seconds of the runs since the last trial
        self._ways = 0.0  # the moving average of the seconds of a way
        self._way_variance = 0.0
        self._way = 0.0  # that when the lines were fitted: all sizes are held to the same
        self._observed = 0  # since the lines were fitted
        self._measured: dict[int, _Measured] = {}
        for rows, seconds in sorted(measured.items()):
            _check(rows, seconds)
            self._measured[rows] = _Measured(seconds, max(1.0, TYPICAL * warm_repeats(seconds)))
        self._lines: list[Line] = []
        self._fitted: dict[int, float] = {}
        self._predicted: dict[int, float] = {}  # what was asked since; few sizes ever are
        self._sizes: dict[int, Sizes] = {}  # by cap
        self._fit()

    def observe(self, rows: int, seconds: float, way: float = 0.0) -> None:
        """
        Learn that a run of *rows* rows took *seconds*; the first of a size counts in full.

        *way* are the seconds that its lane was taken before and after.
        """
        _check(rows, seconds)
        off = min(way, max(WAY_LEAST, WAY_OUTLIER * self._ways)) - self._ways
        self._ways += WAY_WEIGHT * off
        self._way_variance += WAY_WEIGHT * (off * off - self._way_variance)
        known, change = self._measured.get(rows), None
        if known is None:
            known = self._measured[rows] = _Measured(seconds, 1.0, believed=seconds)
        else:
            change = self._changed(known, rows, seconds)
            self._learn(known, seconds)
        self._runs += 1
        self._observed += 1
        self._spent += seconds + way
        known.last = self._runs
        tried = self._tries(rows)
        if tried:
            self._spent = 0.0
        if change is not None:
            self._rescale(change)
        elif tried or self._is_time(known, rows):
            self._fit()

    def is_news(self, rows: int) -> bool:
        """Whether the next decision hangs on what a run of *rows* rows has shown."""
        return rows not in self._measured or self._tries(rows)

    def _tries(self, rows: int) -> bool:
        return any(sizes.tries(rows) for sizes in self._sizes.values())

    def _changed(self, known: _Measured, rows: int, seconds: float) -> Change | None:
        """
        Return what runs show to have changed.

        Sizes of which little was known when the lines were fitted, or much was learned since, show
        nothing: they may have been slow, or quick, at first.
        """
        if known.fitted < LITTLE or self._has_grown(known):
            return None
        return self._drift.observe(rows, seconds, self._believed, self.noise)

    def _believed(self, rows: int) -> float:
        """Return the average of a size when the lines were fitted: no neighbour has its say."""
        return self._measured[rows].believed

    def _rescale(self, change: Change) -> None:
        """Believe that all sizes have changed as those did that ran of late: a guess, at first."""
        for it in self._measured.values():
            it.seconds = change.factor * it.believed
            it.count = min(it.count, GUESS)
        self._noise = min(self._noise, change.variance)
        self._drift.clear()
        self._fit()

    def _learn(self, known: _Measured, seconds: float) -> None:
        if self._is_due(known) and abs(seconds - known.seconds) > NEWS * self.noise * known.seconds:
            known.count, known.fitted = 1.0, 0.0  # what was believed is out of date
        near = max(known.seconds * (1 - OUTLIER), min(known.seconds * (1 + OUTLIER), seconds))
        error = near / max(known.seconds, INSTANT) - 1.0
        # The average is off, too, the more the less is in it.
        variance = min(error * error, OUTLIER**2) * known.count / (known.count + 1.0)
        self._noise += NOISE_WEIGHT * (variance - self._noise)
        known.count = min(known.count + 1.0, MOST)
        known.seconds += (near - known.seconds) * max(WEIGHT, 1.0 / known.count)

    def _is_time(self, known: _Measured, rows: int) -> bool:
        """Whether to fit the lines: what that costs grows with the square of the sizes."""
        squared = len(self._measured) ** 2
        if self._observed >= max(REFIT, squared // 16) or self._first_steps:
            return True
        if self._observed < squared // 128:
            return False
        off = abs(known.seconds - self._run(rows))
        news = NEWS * self.noise * known.seconds / sqrt(known.count)
        return off > news or self._has_grown(known)

    def _has_grown(self, known: _Measured) -> bool:
        """Whether much more is known of a size than when the lines were fitted."""
        return known.count >= GROWN * known.fitted

    def _is_due(self, known: _Measured) -> bool:
        return self._runs - known.last >= AGAIN * known.count

    @property
    def noise(self) -> float:
        """The standard deviation of a run's time, relative to the average of its size."""
        return sqrt(self._noise)

    @property
    def margin(self) -> float:
        """The factor by which a deadline must exceed what is expected, to be met."""
        shortest = self.predict(1)
        of_way = self._way_variance / max(shortest, INSTANT) ** 2
        return max(MARGIN, 1.0 + 2.0 * sqrt(self._noise + of_way))

    @property
    def fitted(self) -> dict[int, float]:
        """The expected seconds of each size that was measured."""
        return {rows: self._way + seconds for rows, seconds in self._fitted.items()}

    def predict(self, rows: int) -> float:
        """
        Return the expected seconds of a run of *rows* rows; 0.0 while nothing is known.

        Linear between measured sizes.  Fewer rows than were ever measured take as long as the
        fewest that were.  More go on along the last line; after a lone size, in proportion.
        """
        known = self._predicted.get(rows)
        if known is None:
            known = self._predicted[rows] = self._way + self._run(rows) if self._fitted else 0.0
        return known

    def _run(self, rows: int) -> float:
        """Return that without the way."""
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
        rates = {rows: rate_of(rows, s) for rows, s in self.fitted.items() if rows <= max_rows}
        enough = KNEE * max(rates.values(), default=0.0)
        return next((rows for rows, rate in rates.items() if rate >= enough), max_rows)

    def sizes(self, cap: int) -> Sizes:
        """Return the sizes worth running, up to *cap*; none while nothing is known."""
        sizes = self._sizes.get(cap)
        if sizes is None:
            known = [it for it in self._estimates() if it.rows <= cap]
            sizes = self._sizes[cap] = choose(known, cap, self.predict, self._spent)
        return sizes

    def _estimates(self) -> Iterator[Estimate]:
        """Yield what is known of each size that was measured."""
        of_each = chain.from_iterable(repeat(line, line.points) for line in self._lines)
        for (rows, seconds), line in zip(self._fitted.items(), of_each, strict=True):
            known, total = self._measured[rows], self._way + seconds
            error = line.error_at(rows) / max(total, INSTANT)
            risk = total + seconds * self.noise / sqrt(known.count)
            yield Estimate(rows, total, error, known.count, line, self._is_due(known), risk)

    @property
    def _first_steps(self) -> bool:
        """Whether so little is known that each run tells much."""
        return sum(it.count for it in self._measured.values()) < REFIT

    def _fit(self) -> None:
        """Smooth the averages."""
        measured = sorted(self._measured.items())
        noise = max(self._noise, LEAST_NOISE**2)
        least = max(INSTANT, SPAN * max((it.seconds for _, it in measured), default=0.0))
        points = []
        for rows, it in measured:
            # By what is expected: else whatever was quick by chance would count for more.
            expected = max(self._run(rows) or it.seconds, least)
            points.append(Point(rows, it.seconds, 1.0 / (noise * expected**2 / it.count)))
            it.believed, it.fitted = it.seconds, it.count
        self._lines = fit_lines(points)
        of_each = chain.from_iterable(repeat(line, line.points) for line in self._lines)
        values = (line.at(rows) for (rows, _), line in zip(measured, of_each, strict=True))
        self._fitted = dict(
            zip((rows for rows, _ in measured), accumulate(values, max), strict=True)
        )
        self._way = self._ways
        self._observed = 0
        self._predicted.clear()
        self._sizes.clear()


def _check(rows: int, seconds: float) -> None:
    if rows < 1 or not 0.0 <= seconds < float("inf"):
        raise ValueError(f"no run of {rows} rows takes {seconds} s")
