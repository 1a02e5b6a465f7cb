"""
Decide which batch sizes are worth running, and which ones are worth a trial.

What is known of a run's time is noisy, and of several sizes that are about as quick noise makes
one look best.  A larger size makes everyone wait longer, so beyond the knee it counts as quick as
it is beyond doubt; how far it is in doubt tells whether a trial is worth its cost.  Pure; imports
nothing of ours but the fit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot

from batcher.learning.piecewise import Line

KNEE = 0.95  #: of the best rows per second; beyond that, size buys next to nothing
SURELY = 1.25  #: standard errors that the best rate may be lower than it looks, for the knee
DOUBT = 1.5  #: standard errors by which a size beyond the knee may be slower than it looks,
CHANCE = 2.0  #: and by which it may be quicker
AFFORDED = 0.0005  #: of the time of all runs, that trials of what was known may cost
INSTANT = 1e-9  #: seconds; no run is shorter
TIE = 1e-9  #: rates that differ by no more, relative to each other, are the same


@dataclass(frozen=True, slots=True)
class Trial:
    """
    A size beyond the knee, which may be quicker than is known.

    One that never ran has neither an error nor runs.
    """

    rows: int
    rate: float  #: rows per second as one expects, or as its neighbours promise
    error: float = 0.0  #: the standard error of that, relative to it
    runs: float = 0.0  #: that what is known of it is worth

    @property
    def best_rate(self) -> float:
        """Rows per second, at best."""
        return self.rate * (1.0 + CHANCE * self.error)


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    The sizes worth running, upwards.

    Each surely brings more rows per second than all before it do.
    """

    rows: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()  #: rows per second of each, beyond doubt
    expected: tuple[float, ...] = ()  #: and as one expects
    longest: float = 0.0  #: seconds of a run at the cap
    measured: int = 0  #: the largest size that ever ran
    trials: tuple[Trial, ...] = ()  #: those that may be quicker than is known, upwards
    due: tuple[int, ...] = ()  #: others that have not run for long

    def tries(self, rows: int) -> bool:
        """Whether runs of *rows* rows are for what they teach, and for nothing else."""
        if rows in self.rows:
            return False
        return rows in self.due or any(rows == it.rows for it in self.trials)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a size that was measured."""

    rows: int
    seconds: float  #: of a run
    error: float  #: its standard error, relative to it
    runs: float  #: that this is worth
    line: Line  #: that it lies on
    due: bool  #: it has not run for long
    risk: float  #: seconds that a run may well take

    @property
    def rate(self) -> float:
        """Rows per second."""
        return rate_of(self.rows, self.seconds)


def rate_of(rows: int, seconds: float) -> float:
    """Return the rows per second of runs of *rows* rows."""
    return rows / max(seconds, INSTANT)


def choose(
    known: Sequence[Estimate], cap: int, predict: Callable[[int], float], spent: float
) -> Sizes:
    """
    Return the sizes worth running, and those that a trial may show to be.

    *known* are the sizes up to *cap* that were measured, in order.  *predict* says how many seconds
    a run of any size takes.  *spent* are the seconds of the runs since the last trial.
    """
    if not known:
        return Sizes()
    knee = _knee(known)
    rows: list[int] = []
    rates: list[float] = []
    best_to: dict[int, float] = {}  # rows per second, of that size or a smaller one
    for size, rate in _certain_rates(known, knee, predict):
        if not rates or rate > rates[-1]:
            rows.append(size)
            rates.append(rate)
        best_to[size] = rates[-1]
    # No hope of more than a smaller size surely brings: it would be tried for nothing.
    trials = tuple(it for it in _hopes(known, knee, predict) if it.best_rate > best_to[it.rows])
    listed = set(rows)
    overdue = (it for it in known if it.due and it.rows not in listed)
    due = (it.rows for it in overdue if it.risk - it.rows / rates[-1] <= AFFORDED * spent)
    expected = tuple(rate_of(size, predict(size)) for size in rows)
    return Sizes(
        tuple(rows), tuple(rates), expected, predict(cap), known[-1].rows, trials, tuple(due)
    )


def _hopes(
    known: Sequence[Estimate], knee: Estimate, predict: Callable[[int], float]
) -> Iterator[Trial]:
    """
    Yield the sizes beyond the *knee* that may be quicker than is known.

    Of the doubt about two rates a trial can only clear up its own size's.  What was never measured
    may be as quick as its neighbours promise.
    """
    measured = {it.rows: it for it in known}
    best = knee.rate
    for rows in range(knee.rows + 1, known[-1].rows + 1):
        it = measured.get(rows)
        if it is not None:
            yield Trial(rows, it.rate, it.error, it.runs)
            best = max(best, it.rate)
        elif (rate := rate_of(rows, predict(rows))) > best * (1.0 + TIE):
            yield Trial(rows, rate)


def _knee(known: Sequence[Estimate]) -> Estimate:
    """Return the smallest of *known* that certainly has nearly the best rate."""
    enough = KNEE * max(it.rate / (1.0 + SURELY * it.error) for it in known)
    return next(it for it in known if it.rate >= enough)


def _certain_rates(
    known: Sequence[Estimate], knee: Estimate, predict: Callable[[int], float]
) -> Iterator[tuple[int, float]]:
    """
    Yield the sizes up to the largest *known*, and the rows per second of each.

    Up to the *knee* they are what *predict* says; beyond it, what is certain.
    """
    below: Estimate | None = None
    for it in known:
        for rows in range(below.rows + 1 if below else 1, it.rows + 1):
            seconds = predict(rows)
            if it.rows <= knee.rows:
                doubt = 0.0
            elif below is not None and below.line is it.line is knee.line:
                doubt = _along(rows, seconds, knee)
            else:
                # There may be a step anywhere: that no more rows take longer is all there is.
                seconds, doubt = it.seconds, _doubt(it, knee)
            yield rows, rate_of(rows, seconds * (1.0 + DOUBT * doubt))
        below = it


def _doubt(it: Estimate, knee: Estimate) -> float:
    """Return the standard error of the ratio of the two rates."""
    if it.line is knee.line:
        return _along(it.rows, it.seconds, knee)
    return hypot(it.error, knee.error)


def _along(rows: int, seconds: float, knee: Estimate) -> float:
    """
    Return that of a size on the line of *knee*.

    Both are off together, the more so the nearer the line comes to the origin.
    """
    line = knee.line
    here, there = max(seconds, INSTANT), max(knee.seconds, INSTANT)
    level = 1.0 / here - 1.0 / there
    tilt = (rows - line.centre) / here - (knee.rows - line.centre) / there
    return hypot(line.error * level, line.tilt * tilt)
