"""
The measured service time l(b): how many seconds a run of b rows takes.

It is the sum of two parts: the time of the run itself, which is learned for each size, and the
dispatch overhead, the time to the lane and back, which is learned for all sizes together: a busy
reactor or machine makes some runs wait, independent of their size.

Pure: the caller passes each measurement.  Imports nothing of ours but its own parts.
"""

from collections.abc import Mapping
from itertools import chain, repeat
from math import inf, sqrt

from batcher.learning.average import CHANGE_RUNS, DOUBTED_COUNT, Average, Noise, correct
from batcher.learning.piecewise import Line, Point, fit_lines
from batcher.learning.plausible import plausible
from batcher.learning.sizes import KNEE_RATE_SHARE, MIN_RUN_SECONDS, Sizes, choose_sizes, rate_of

#: A measured size has the weight of as many runs as fit into so many seconds, because a warm-up
#: repeats a run for about so long; at least 1 and at most so many.
MEASURED_SECONDS, MAX_MEASURED_COUNT = 1.0, 88.0

# When the lines are fitted.

MIN_SECONDS_SHARE = 1e-6  #: of the longest run: shorter times count as this
REFIT_RUNS = 32  #: after so many runs; later if there are many sizes or rows

#: A first run of a size that takes more than so many times the expected time does not count: an
#: engine may prepare for the size in it.  The next run determines the average.
MAX_FIRST_RATIO = 2.0

#: An average is in doubt if it exceeds the time of runs of its parts by more than this share of it,
#: and than noise explains.  Not a smaller share: the time of a run may have steps.
MIN_IMPLAUSIBLE_EXCESS = 0.2

# Exploration.

EXPLORATION_INTERVAL_BATCHES = 16  #: at most one batch in so many is launched to measure its size
ANY_SIZE_AGE_BATCHES = 2048  #: a time measured earlier may be wrong by more than its error
HOPEFUL_STANDARD_ERRORS = 2.0  #: by which the rate of an explored size may exceed the estimate

# The dispatch overhead.

DISPATCH_OVERHEAD_WEIGHT = 0.05  #: the weight of a new run in its moving average
MAX_DISPATCH_OVERHEAD_RATIO = 3.0  #: a value above this multiple of the average counts as this,
MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS = 0.0005  #: unless it is below so many seconds

MIN_MARGIN = 1.1  #: the least factor by which an allowed time must exceed the expected time


class LatencyCurve:
    """
    Predicts the seconds of a run from its rows and the measured times of each size.

    The moving averages of the sizes are smoothed by as few straight lines as explain them, and the
    dispatch overhead is added.  Predictions never fall as rows grow; up to the largest measured
    size, a run never takes longer than runs of its parts together.
    *measured* maps rows to the seconds of a run, as a warm-up finds them.  Raises ValueError for
    rows below 1, or seconds that are negative or not finite.
    """

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._noise = Noise()
        self._since_fit = 0  # runs
        self._batches = self._since_exploration = 0  # launched batches
        self._overhead = 0.0  # moving average of the dispatch overhead, in seconds
        self._overhead_variance = 0.0
        self._fitted_overhead = 0.0  # the overhead at the last fit: the same for all sizes
        self._averages: dict[int, Average] = {}
        for rows, seconds in sorted(measured.items()):
            _check(rows, seconds)
            taken = max(seconds, MIN_RUN_SECONDS)
            count = max(1.0, min(MEASURED_SECONDS / taken, MAX_MEASURED_COUNT))
            self._averages[rows] = Average(taken, count)
        self._last_line = Line(0.0, 0.0)
        self._fitted: list[float] = []  # seconds by rows, without the overhead
        self._sizes: dict[int, Sizes] = {}  # by cap
        self._fit()

    def observe(self, rows: int, seconds: float, dispatch_overhead: float = 0.0) -> None:
        """
        Learn that a run of *rows* rows took *seconds*, which exclude the dispatch overhead.

        *dispatch_overhead* is the number of seconds before and after the run itself for which the
        lane was busy.  The first run of a size determines its average.
        """
        _check(rows, seconds)
        seconds = max(seconds, MIN_RUN_SECONDS)
        self._observe_overhead(dispatch_overhead)
        self._since_fit += 1
        average = self._averages.get(rows)
        if average is None or average.count < DOUBTED_COUNT:
            self._learn_first(rows, seconds)
            return
        if change := average.add(seconds, self._noise):
            since = average.since
            correct(self._averages, rows, change, since, self._batches, self._noise)
            self._fit()
        else:
            self._fit_if_due(average)

    def _learn_first(self, rows: int, seconds: float) -> None:
        """Learn the first run of a size, or of one in doubt: it determines the average."""
        expected = self._run(rows)
        if rows not in self._averages and 0.0 < MAX_FIRST_RATIO * expected < seconds:
            self._averages[rows] = Average(expected, DOUBTED_COUNT / 2.0, self._batches)
        else:
            self._averages[rows] = Average(seconds, 1.0, self._batches, confirmed=True)
        self._fit_if_due(self._averages[rows])

    def _fit_if_due(self, average: Average) -> None:
        """Fit after a run of the size of *average*: soon if it has few runs, else now and then."""
        # The time of a fit grows with the square of the number of sizes.
        often = max(len(self._averages) ** 2, len(self._fitted)) // 128
        enough = often if average.count < CHANGE_RUNS else max(REFIT_RUNS, 8 * often)
        if self._since_fit >= enough:
            self._fit()

    def _observe_overhead(self, seconds: float) -> None:
        limit = MAX_DISPATCH_OVERHEAD_RATIO * self._overhead
        off = min(seconds, max(MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS, limit)) - self._overhead
        self._overhead += DISPATCH_OVERHEAD_WEIGHT * off
        self._overhead_variance += DISPATCH_OVERHEAD_WEIGHT * (off * off - self._overhead_variance)

    @property
    def noise(self) -> float:
        """The standard deviation of the time of a run, relative to the average of its size."""
        return self._noise.value

    @property
    def margin(self) -> float:
        """The factor by which the time until a deadline must exceed the predicted run time."""
        shortest = self.predict(1)
        of_overhead = self._overhead_variance / max(shortest, MIN_RUN_SECONDS) ** 2
        return max(MIN_MARGIN, 1.0 + 2.0 * sqrt(self.noise**2 + of_overhead))

    @property
    def fitted(self) -> dict[int, float]:
        """The expected seconds of a run of each measured size, by rows."""
        return {rows: self.predict(rows) for rows in sorted(self._averages)}

    def predict(self, rows: int) -> float:
        """
        Return the expected seconds of a run of *rows* rows; 0.0 if no size is measured.

        The time is linear between two measured sizes.  Below the smallest measured size, it is the
        time of that size.  Above the largest, the last line is extended; if that line explains only
        one size, the time is proportional to the rows.
        """
        return self._fitted_overhead + self._run(rows) if self._averages else 0.0

    def _run(self, rows: int) -> float:
        """Return the expected seconds of a run of *rows* rows, without the dispatch overhead."""
        largest = len(self._fitted) - 1
        if rows <= largest:
            return self._fitted[rows]
        if largest < 1:
            return 0.0
        slope = self._fitted[largest] / largest
        if self._last_line.points > 1:
            slope = min(slope, self._last_line.slope)
        return self._fitted[largest] + slope * (rows - largest)

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
            measured = sorted(rows for rows in self._averages if rows <= cap)
            sizes = self._sizes[cap] = (
                choose_sizes(measured, cap, self.knee(cap), self.predict) if measured else Sizes()
            )
        return sizes

    # Exploration.

    def launched(self, rows: int, *, explored: bool) -> None:
        """Record the launch of a batch of *rows* rows; *explored*: its purpose is to measure it."""
        self._batches += 1
        self._since_exploration = 0 if explored else self._since_exploration + 1
        if (average := self._averages.get(rows)) is not None:
            average.count = average.weight(self._batches)
            average.launched = self._batches

    def to_explore(self, best: int, most: int, longest: float = inf) -> int:
        """
        Return the size to measure now instead of the *best* one; 0: none.

        It has at most *most* rows, and its run is expected to take at most *longest* seconds.

        Once in `EXPLORATION_INTERVAL_BATCHES`: of the measured sizes whose rate may be higher than
        that of *best*, the one that was launched least recently.
        """
        if self._since_exploration < EXPLORATION_INTERVAL_BATCHES:
            return 0
        enough = rate_of(best, self.predict(best))
        candidates = [
            rows
            for rows in self._averages
            if best != rows <= most
            and self.predict(rows) <= longest
            and self._may_exceed(enough, rows, best)
        ]
        return min(candidates, key=lambda rows: self._averages[rows].launched, default=0)

    def _may_exceed(self, rate: float, rows: int, best: int) -> bool:
        """
        Return whether the rate of a measured size may plausibly exceed *rate*, that of *best*.

        That of any larger size may, if its time was measured long ago.
        """
        it = self._averages[rows]
        if rows > best and self._batches - it.launched >= ANY_SIZE_AGE_BATCHES:
            return True
        error = self.noise / sqrt(it.weight(self._batches))
        highest = rate_of(rows, self._fitted_overhead + it.seconds)
        return highest * (1.0 + HOPEFUL_STANDARD_ERRORS * error) > rate

    def _fit(self) -> None:
        """Fit the lines to the averages; clear the predictions and sizes computed before."""
        measured = sorted(self._averages.items())
        weights = {rows: it.weight(self._batches) for rows, it in measured}
        longest = max((it.seconds for _, it in measured), default=0.0)
        least = max(MIN_RUN_SECONDS, MIN_SECONDS_SHARE * longest)
        points = []
        for rows, it in measured:
            # Relative to the expected time: else a size that was quick by chance weighs more.
            expected = max(self._run(rows) or it.seconds, least)
            points.append(Point(rows, it.seconds, weights[rows] / (self.noise * expected) ** 2))
        lines = fit_lines(points)
        of_each = chain.from_iterable(repeat(line, line.points) for line in lines)
        values = {rows: line.at(rows) for (rows, _), line in zip(measured, of_each, strict=True)}
        self._fitted = plausible(values, list(weights.values()))
        for rows, it in measured:
            # Its runs and those of its parts contradict each other: the next run decides.
            excess = it.seconds / self._fitted[rows] - 1.0
            if excess > max(MIN_IMPLAUSIBLE_EXCESS, 2.0 * self.noise) and not it.confirmed:
                it.doubt(excess, self._noise)
        self._fitted_overhead = self._overhead
        self._last_line = lines[-1] if lines else Line(0.0, 0.0)
        self._since_fit = 0
        self._sizes.clear()


def _check(rows: int, seconds: float) -> None:
    if rows < 1 or not 0.0 <= seconds < float("inf"):
        raise ValueError(f"a run has at least 1 row and a time, not {rows} rows and {seconds} s")
