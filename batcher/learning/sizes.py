"""
Decide which batch sizes are worth running, and which are worth exploring.

Measured times are noisy, and the noise makes one of several equally quick sizes look best; but in
a larger batch all requests wait longer.  A size beyond the knee, which is the smallest size with
nearly the best rate, therefore counts with the rate that it certainly has; its standard error
decides whether exploring it is worth the cost.  Pure; imports nothing of ours but the fit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot

from batcher.learning.piecewise import Line

KNEE_RATE_SHARE = 0.95  #: of the best rows per second; larger sizes gain next to nothing

# In standard errors:
KNEE_STANDARD_ERRORS = 1.25  #: by which the best rate is lowered to find the knee
CERTAIN_STANDARD_ERRORS = 1.5  #: by which a size beyond the knee may be slower than estimated,
HOPEFUL_STANDARD_ERRORS = 2.0  #: and by which it may be quicker

MAX_EXPLORATION_SHARE = 0.0005  #: of the time of all runs, that runs of stale sizes may cost
MIN_RUN_SECONDS = 1e-9  #: no run is shorter
RATE_TOLERANCE = 1e-9  #: rates that differ by no more, relative to each other, are equal


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A size beyond the knee that may have a higher rate than estimated.

    For a size that never ran, `error` and `runs` are 0.
    """

    rows: int
    rate: float  #: expected rows per second; if it never ran, predicted from its neighbours
    error: float = 0.0  #: the standard error of the rate, relative to it
    runs: float = 0.0  #: the weight of the estimate, as a number of runs

    @property
    def best_rate(self) -> float:
        """The highest rate that this size may plausibly have, in rows per second."""
        return self.rate * (1.0 + HOPEFUL_STANDARD_ERRORS * self.error)


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    The batch sizes worth running, in rows, ascending.

    The certain rate of a size is its predicted rate up to the knee, and a lower bound of its rate
    beyond the knee.  That of each size is higher than those of all smaller sizes.
    """

    rows: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()  #: the certain rate of each size, in rows per second
    expected: tuple[float, ...] = ()  #: the expected rate of each size, in rows per second
    longest: float = 0.0  #: expected seconds of a run at the cap
    measured: int = 0  #: the largest measured size; 0 if no size is measured
    exploration: tuple[Candidate, ...] = ()  #: sizes that may be quicker, ascending
    stale: tuple[int, ...] = ()  #: sizes to measure again: not in `rows`, last run long ago

    def explores(self, rows: int) -> bool:
        """Return whether the only purpose of a run of *rows* rows is its measurement."""
        if rows in self.rows:
            return False
        return rows in self.stale or any(rows == it.rows for it in self.exploration)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated run time and rate of a measured size."""

    rows: int
    seconds: float  #: expected seconds of a run
    error: float  #: its standard error, relative to it
    runs: float  #: the weight of the estimate, as a number of runs
    line: Line  #: the fitted line of this size
    stale: bool  #: the last run of the size is long ago
    risk: float  #: seconds that a run takes, with its standard error added

    @property
    def rate(self) -> float:
        """The expected rate, in rows per second."""
        return rate_of(self.rows, self.seconds)


def rate_of(rows: int, seconds: float) -> float:
    """Return the rate, in rows per second, of runs of *rows* rows that take *seconds*."""
    return rows / max(seconds, MIN_RUN_SECONDS)


def choose_sizes(
    known: Sequence[Estimate], cap: int, predict: Callable[[int], float], spent: float
) -> Sizes:
    """
    Return the sizes worth running and the sizes worth exploring.

    *known* are the measured sizes up to *cap*, ascending.  *predict* returns the expected seconds
    of a run of any size.  *spent* is the total time of all runs since the last exploration, in
    seconds.
    """
    if not known:
        return Sizes()
    knee = _knee(known)
    rows: list[int] = []
    rates: list[float] = []
    best_to: dict[int, float] = {}  # the best certain rate up to that size
    for size, rate in _certain_rates(known, knee, predict):
        if not rates or rate > rates[-1]:
            rows.append(size)
            rates.append(rate)
        best_to[size] = rates[-1]
    # Exploring a size is useless if a smaller one certainly has a better rate.
    candidates = _candidates(known, knee, predict)
    exploration = tuple(it for it in candidates if it.best_rate > best_to[it.rows])
    listed = set(rows)
    overdue = (it for it in known if it.stale and it.rows not in listed)
    budget = MAX_EXPLORATION_SHARE * spent
    stale = (it.rows for it in overdue if it.risk - it.rows / rates[-1] <= budget)
    expected = tuple(rate_of(size, predict(size)) for size in rows)
    return Sizes(
        tuple(rows), tuple(rates), expected, predict(cap), known[-1].rows, exploration, tuple(stale)
    )


def _candidates(
    known: Sequence[Estimate], knee: Estimate, predict: Callable[[int], float]
) -> Iterator[Candidate]:
    """
    Yield the sizes beyond the *knee* that may have a higher rate than estimated.

    The error of each is that of its own rate, without that of the knee: runs of a size reduce only
    its own error.  The rate of a size that was never measured is predicted from its neighbours.
    """
    measured = {it.rows: it for it in known}
    best = knee.rate
    for rows in range(knee.rows + 1, known[-1].rows + 1):
        it = measured.get(rows)
        if it is not None:
            yield Candidate(rows, it.rate, it.error, it.runs)
            best = max(best, it.rate)
        elif (rate := rate_of(rows, predict(rows))) > best * (1.0 + RATE_TOLERANCE):
            yield Candidate(rows, rate)


def _knee(known: Sequence[Estimate]) -> Estimate:
    """Return the smallest of *known* with at least `KNEE_RATE_SHARE` of the best certain rate."""
    best = max(it.rate / (1.0 + KNEE_STANDARD_ERRORS * it.error) for it in known)
    enough = KNEE_RATE_SHARE * best
    return next(it for it in known if it.rate >= enough)


def _certain_rates(
    known: Sequence[Estimate], knee: Estimate, predict: Callable[[int], float]
) -> Iterator[tuple[int, float]]:
    """
    Yield each size up to the largest *known*, and its certain rate in rows per second.

    Up to the *knee* this is the rate by *predict*; beyond the knee it is a lower bound of the rate.
    """
    below: Estimate | None = None
    for it in known:
        for rows in range(below.rows + 1 if below else 1, it.rows + 1):
            seconds = predict(rows)
            if it.rows <= knee.rows:
                error = 0.0
            elif below is not None and below.line is it.line is knee.line:
                error = _error_along_line(rows, seconds, knee)
            else:
                # There may be a step anywhere between two lines: only the time of the next
                # measured size is a certain bound.
                seconds, error = it.seconds, _ratio_error(it, knee)
            yield rows, rate_of(rows, seconds * (1.0 + CERTAIN_STANDARD_ERRORS * error))
        below = it


def _ratio_error(it: Estimate, knee: Estimate) -> float:
    """Return the relative standard error of a ratio: the rate of *it* divided by that of *knee*."""
    if it.line is knee.line:
        return _error_along_line(it.rows, it.seconds, knee)
    return hypot(it.error, knee.error)


def _error_along_line(rows: int, seconds: float, knee: Estimate) -> float:
    """
    Return the relative standard error of a ratio: the rate of a size divided by that of *knee*.

    A run of the size has *rows* rows and takes *seconds*; the size is on the same fitted line as
    *knee*.  An error of the line changes both rates in the same direction; the nearer the line
    passes to the origin, the more such an error changes the ratio.
    """
    line = knee.line
    here, there = max(seconds, MIN_RUN_SECONDS), max(knee.seconds, MIN_RUN_SECONDS)
    level = 1.0 / here - 1.0 / there
    tilt = (rows - line.centre) / here - (knee.rows - line.centre) / there
    return hypot(line.error * level, line.tilt * tilt)
