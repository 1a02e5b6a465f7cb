"""
The measured service time l(b): how many seconds a run of b rows takes.

It is the sum of two parts: the time of the run itself, which is learned for each size, and the
dispatch overhead, the time to the lane and back, which is learned for all sizes together: a busy
reactor or machine makes some runs wait, independent of their size.

Pure: the caller passes each measurement.  Imports nothing of ours but its own parts: the fit,
the drift and the sizes.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from math import sqrt
from statistics import fmean

from batcher.learning.drift import Change, Drift
from batcher.learning.piecewise import Line, Point, fit_lines
from batcher.learning.sizes import (
    KNEE_RATE_SHARE,
    MIN_RUN_SECONDS,
    Estimate,
    Sizes,
    choose_sizes,
    rate_of,
)

# The warm-up.

MAX_WARMUP_SECONDS = 1.0  #: for the runs of one size; more if `MIN_WARMUP_RUNS` take longer
MIN_LONG_RUN_SECONDS = 1.0  #: a longer run is measured once: its noise is relatively small
MIN_WARMUP_RUNS, MAX_WARMUP_RUNS = 5, 100  #: runs of one size
TRIM_DIVISOR = 5  #: one in this many times is left out at either end

#: The variance of a mean divided by that of a trimmed mean of as many runs.
TRIMMED_MEAN_EFFICIENCY = 0.88

# The moving average of a size.

MIN_RUN_WEIGHT = 1 / 256  #: the weight of a new run, once the average contains many runs
MAX_COUNT = 2.0 / MIN_RUN_WEIGHT - 1.0  #: the largest weight of an average, as a number of runs
MAX_COUNT_AFTER_CHANGE = 32.0  #: the same after a change of the machine
MAX_DEVIATION = 0.5  #: a larger deviation, relative to the average, counts as this

#: A size is stale when this many runs, times its count, have ended since its last run.
STALE_RUNS_PER_COUNT = 16.0

# The noise: the standard deviation of runs, relative to the average of their size.

INITIAL_NOISE = 0.05
MIN_NOISE = 0.001  #: the precision of a clock
NOISE_WEIGHT = 0.02  #: the weight of a new run

# When the lines are fitted.

MIN_SECONDS_SHARE = 1e-6  #: of the longest run: shorter times count as this
REFIT_RUNS = 32  #: after so many runs; later if there are many sizes
REFIT_STANDARD_ERRORS = 4.0  #: or sooner, when an average is so far from its line
REFIT_COUNT_RATIO = 1.5  #: or when the count of a size has grown by this factor since then
MIN_DRIFT_COUNT = 3.0  #: a size with a lower count is no evidence of a change of the machine

# The dispatch overhead.

DISPATCH_OVERHEAD_WEIGHT = 0.05  #: the weight of a new run in its moving average
MAX_DISPATCH_OVERHEAD_RATIO = 3.0  #: a value above this multiple of the average counts as this,
MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS = 0.0005  #: unless it is below so many seconds

MIN_MARGIN = 1.1  #: the least factor by which an allowed time must exceed the expected time


def warmup_runs(seconds: float) -> int:
    """Return the number of runs of one size in a warm-up, if one run takes *seconds*."""
    if seconds > MIN_LONG_RUN_SECONDS:
        return 1
    runs = int(MAX_WARMUP_SECONDS / max(seconds, MIN_RUN_SECONDS))
    return max(MIN_WARMUP_RUNS, min(MAX_WARMUP_RUNS, runs))


def trimmed_mean(times: Sequence[float]) -> float:
    """Return the mean of *times* without the lowest and highest fifth, because some runs stall."""
    apart = len(times) // TRIM_DIVISOR
    return fmean(sorted(times)[apart : len(times) - apart])


@dataclass(slots=True)
class _Measured:
    """The moving average of the run times of one size."""

    seconds: float
    count: float  #: the weight of the average, as a number of runs
    last: int = 0  #: the sequence number of its last run, among the runs of all sizes
    seconds_at_fit: float = 0.0  #: `seconds` at the last fit
    count_at_fit: float = 0.0  #: `count` at the last fit


class LatencyCurve:
    """
    Predicts the seconds of a run from its rows and the measured times of each size.

    The moving averages of the sizes are smoothed by as few straight lines as explain them, and the
    dispatch overhead is added.  Predictions never fall as rows grow.
    *measured* maps rows to the seconds of a run, as a warm-up finds them: the `trimmed_mean` of
    `warmup_runs` runs.  Raises ValueError for rows below 1, or seconds that are negative or not
    finite.
    """

    __slots__ = (
        "_drift", "_fitted", "_fitted_overhead", "_lines", "_measured", "_noise", "_observed",
        "_overhead", "_overhead_variance", "_predicted", "_runs", "_seconds_since_exploration",
        "_sizes",
    )  # fmt: skip

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._noise = INITIAL_NOISE**2
        self._drift = Drift()
        self._runs = 0
        self._seconds_since_exploration = 0.0  # of all runs since the last one for exploration
        self._overhead = 0.0  # moving average of the dispatch overhead, in seconds
        self._overhead_variance = 0.0
        self._fitted_overhead = 0.0  # the overhead at the last fit: the same for all sizes
        self._observed = 0  # runs since the last fit
        self._measured: dict[int, _Measured] = {}
        for rows, seconds in sorted(measured.items()):
            _check(rows, seconds)
            count = max(1.0, TRIMMED_MEAN_EFFICIENCY * warmup_runs(seconds))
            self._measured[rows] = _Measured(seconds, count)
        self._lines: list[Line] = []
        self._fitted: dict[int, float] = {}
        self._predicted: dict[int, float] = {}  # a cache; few sizes are ever predicted
        self._sizes: dict[int, Sizes] = {}  # by cap
        self._fit()

    def observe(self, rows: int, seconds: float, dispatch_overhead: float = 0.0) -> None:
        """
        Learn that a run of *rows* rows took *seconds*, which exclude the dispatch overhead.

        *dispatch_overhead* is the number of seconds before and after the run itself for which the
        lane was busy.  The first run of a size determines its average.
        """
        _check(rows, seconds)
        limit = MAX_DISPATCH_OVERHEAD_RATIO * self._overhead
        limit = max(MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS, limit)
        off = min(dispatch_overhead, limit) - self._overhead
        self._overhead += DISPATCH_OVERHEAD_WEIGHT * off
        self._overhead_variance += DISPATCH_OVERHEAD_WEIGHT * (off * off - self._overhead_variance)
        known, change = self._measured.get(rows), None
        if known is None:
            known = self._measured[rows] = _Measured(seconds, 1.0, seconds_at_fit=seconds)
        else:
            change = self._changed(known, rows, seconds)
            self._learn(known, seconds)
        self._runs += 1
        self._observed += 1
        self._seconds_since_exploration += seconds + dispatch_overhead
        known.last = self._runs
        explored = self._explores(rows)
        if explored:
            self._seconds_since_exploration = 0.0
        if change is not None:
            self._rescale(change)
        elif explored or self._needs_fit(known, rows):
            self._fit()

    def is_informative(self, rows: int) -> bool:
        """Return whether learning the time of a run of *rows* rows may change the next decision."""
        return rows not in self._measured or self._explores(rows)

    def _explores(self, rows: int) -> bool:
        return any(sizes.explores(rows) for sizes in self._sizes.values())

    def _changed(self, known: _Measured, rows: int, seconds: float) -> Change | None:
        """
        Add a run to the recent runs; return the change of speed that they show, None if none.

        If the size had few runs at the last fit, or has had many since then, the run is not added:
        it is no evidence, because the first runs of the size may have been slow or quick.
        """
        if known.count_at_fit < MIN_DRIFT_COUNT or self._has_grown(known):
            return None
        return self._drift.observe(rows, seconds, self._seconds_at_fit, self.noise)

    def _seconds_at_fit(self, rows: int) -> float:
        """Return the average seconds of the size *rows* at the last fit, before smoothing."""
        return self._measured[rows].seconds_at_fit

    def _rescale(self, change: Change) -> None:
        """Apply *change* to the averages of all sizes; limit their counts: new runs weigh more."""
        for it in self._measured.values():
            it.seconds = change.factor * it.seconds_at_fit
            it.count = min(it.count, MAX_COUNT_AFTER_CHANGE)
        self._noise = min(self._noise, change.variance)
        self._drift.clear()
        self._fit()

    def _learn(self, known: _Measured, seconds: float) -> None:
        limit = REFIT_STANDARD_ERRORS * self.noise * known.seconds
        if self._is_stale(known) and abs(seconds - known.seconds) > limit:
            known.count, known.count_at_fit = 1.0, 0.0  # the average is out of date
        shortest, longest = known.seconds * (1 - MAX_DEVIATION), known.seconds * (1 + MAX_DEVIATION)
        near = max(shortest, min(longest, seconds))
        error = near / max(known.seconds, MIN_RUN_SECONDS) - 1.0
        # The average has an error, too: the fewer runs it has, the larger is the error.
        variance = min(error * error, MAX_DEVIATION**2) * known.count / (known.count + 1.0)
        self._noise += NOISE_WEIGHT * (variance - self._noise)
        known.count = min(known.count + 1.0, MAX_COUNT)
        known.seconds += (near - known.seconds) * max(MIN_RUN_WEIGHT, 1.0 / known.count)

    def _needs_fit(self, known: _Measured, rows: int) -> bool:
        """
        Return whether to fit the lines now, after a run of *rows* rows.

        The time of a fit grows with the square of the number of sizes; with many sizes, more runs
        are awaited before a fit.
        """
        squared = len(self._measured) ** 2
        if self._observed >= max(REFIT_RUNS, squared // 16) or self._has_few_runs:
            return True
        if self._observed < squared // 128:
            return False
        off = abs(known.seconds - self._run(rows))
        limit = REFIT_STANDARD_ERRORS * self.noise * known.seconds / sqrt(known.count)
        return off > limit or self._has_grown(known)

    def _has_grown(self, known: _Measured) -> bool:
        """Return whether the size in *known* has many more runs than at the last fit."""
        return known.count >= REFIT_COUNT_RATIO * known.count_at_fit

    def _is_stale(self, known: _Measured) -> bool:
        return self._runs - known.last >= STALE_RUNS_PER_COUNT * known.count

    @property
    def noise(self) -> float:
        """The standard deviation of the time of a run, relative to the average of its size."""
        return sqrt(self._noise)

    @property
    def margin(self) -> float:
        """The factor by which the time until a deadline must exceed the predicted run time."""
        shortest = self.predict(1)
        of_overhead = self._overhead_variance / max(shortest, MIN_RUN_SECONDS) ** 2
        return max(MIN_MARGIN, 1.0 + 2.0 * sqrt(self._noise + of_overhead))

    @property
    def fitted(self) -> dict[int, float]:
        """The expected seconds of a run of each measured size, by rows."""
        return {rows: self._fitted_overhead + seconds for rows, seconds in self._fitted.items()}

    def predict(self, rows: int) -> float:
        """
        Return the expected seconds of a run of *rows* rows; 0.0 if no size is measured.

        The time is linear between two measured sizes.  Below the smallest measured size, it is the
        time of that size.  Above the largest, the last line is extended; if that line explains only
        one size, the time is proportional to the rows.
        """
        known = self._predicted.get(rows)
        if known is None:
            known = self._fitted_overhead + self._run(rows) if self._fitted else 0.0
            self._predicted[rows] = known
        return known

    def _run(self, rows: int) -> float:
        """Return the expected seconds of a run of *rows* rows, without the dispatch overhead."""
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

        Only sizes up to *max_rows* count; if none of them is measured, return *max_rows*.
        """
        rates = {rows: rate_of(rows, s) for rows, s in self.fitted.items() if rows <= max_rows}
        enough = KNEE_RATE_SHARE * max(rates.values(), default=0.0)
        return next((rows for rows, rate in rates.items() if rate >= enough), max_rows)

    def sizes(self, cap: int) -> Sizes:
        """Return the batch sizes worth running, up to *cap* rows; empty if no size is measured."""
        sizes = self._sizes.get(cap)
        if sizes is None:
            sizes = self._sizes[cap] = self._choose_sizes(cap)
        return sizes

    def peek_sizes(self, cap: int) -> Sizes:
        """
        Return the same as `sizes`, for a reader that decides nothing.

        `sizes` keeps what it returns, and decides by it which later runs are learned at once.
        """
        return self._sizes.get(cap) or self._choose_sizes(cap)

    def _choose_sizes(self, cap: int) -> Sizes:
        known = [it for it in self._estimates() if it.rows <= cap]
        return choose_sizes(known, cap, self.predict, self._seconds_since_exploration)

    def _estimates(self) -> Iterator[Estimate]:
        """Yield an estimate of each measured size, ascending."""
        of_each = chain.from_iterable(repeat(line, line.points) for line in self._lines)
        for (rows, seconds), line in zip(self._fitted.items(), of_each, strict=True):
            known, total = self._measured[rows], self._fitted_overhead + seconds
            error = line.error_at(rows) / max(total, MIN_RUN_SECONDS)
            risk = total + seconds * self.noise / sqrt(known.count)
            yield Estimate(rows, total, error, known.count, line, self._is_stale(known), risk)

    @property
    def _has_few_runs(self) -> bool:
        """Whether all sizes together have fewer than `REFIT_RUNS` runs: each run then matters."""
        return sum(it.count for it in self._measured.values()) < REFIT_RUNS

    def _fit(self) -> None:
        """Fit the lines to the averages; clear the predictions and sizes computed before."""
        measured = sorted(self._measured.items())
        noise = max(self._noise, MIN_NOISE**2)
        longest = max((it.seconds for _, it in measured), default=0.0)
        least = max(MIN_RUN_SECONDS, MIN_SECONDS_SHARE * longest)
        points = []
        for rows, it in measured:
            # Relative to the expected time: else a size that was quick by chance weighs more.
            expected = max(self._run(rows) or it.seconds, least)
            points.append(Point(rows, it.seconds, 1.0 / (noise * expected**2 / it.count)))
            it.seconds_at_fit, it.count_at_fit = it.seconds, it.count
        self._lines = fit_lines(points)
        of_each = chain.from_iterable(repeat(line, line.points) for line in self._lines)
        values = (line.at(rows) for (rows, _), line in zip(measured, of_each, strict=True))
        self._fitted = dict(
            zip((rows for rows, _ in measured), accumulate(values, max), strict=True)
        )
        self._fitted_overhead = self._overhead
        self._observed = 0
        self._predicted.clear()
        self._sizes.clear()


def _check(rows: int, seconds: float) -> None:
    if rows < 1 or not 0.0 <= seconds < float("inf"):
        raise ValueError(f"a run has at least 1 row and a time, not {rows} rows and {seconds} s")
