"""
Decide which batch sizes are worth running, and which ones are worth a trial.

What is known of a run's time is noisy, and of several sizes that are about as quick noise makes
one look best.  A larger size makes everyone wait longer, so it is believed to be quicker only
beyond doubt; but where it may well be, doubt is worth a trial.  Pure; imports nothing of ours but
the fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, log2

from batcher.fit import Line

KNEE = 0.95  #: of the best rows per second; beyond that, size buys next to nothing
DOUBT = 1.25  #: standard errors by which a size beyond the knee must be quicker
START = 2.0  #: standard errors by which the start of a line must exceed 0: else it brings no gain
UNSURE = 0.01  #: the relative standard error of a rate that is known well enough
CHANCE = 1.5  #: standard errors by which a size may be quicker than it looks
WORTH = 0.02  #: of the rows per second, that twice the rows must bring to be worth a trial
AFFORDED = 0.0005  #: of the time of all runs, that trials may cost
INSTANT = 1e-9  #: seconds; no run is shorter


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes worth running, upwards: each brings more rows per second than all before it."""

    rows: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()  #: rows per second of each
    longest: float = 0.0  #: seconds of a run at the cap
    measured: int = 0  #: the largest size that ever ran
    trials: tuple[int, ...] = ()  #: others that may be quicker than is known, the first first


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a size that was measured."""

    rows: int
    seconds: float  #: of a run
    error: float  #: its standard error, relative to it
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
    Return the sizes worth running, and those worth a trial.

    *known* are the sizes up to *cap* that were measured, in order.  Between two of them all sizes
    are there, at the seconds that *predict* says, where the upper one is believed.  *spent* are the
    seconds of the runs since the last trial.
    """
    believed, doubtful = _believed(known)
    rows: list[int] = []
    rates: list[float] = []
    for below, size in pairwise([0, *(it.rows for it in known)]):
        for each in range(below + 1, size + 1) if size in believed else ():
            rate = rate_of(each, predict(each))
            if not rates or rate > rates[-1]:
                rows.append(each)
                rates.append(rate)
    listed = set(rows)
    overdue = (it for it in known if it.due and it.rows not in listed)
    due = [it.rows for it in overdue if it.risk - it.rows / rates[-1] <= AFFORDED * spent]
    largest = known[-1].rows if known else 0
    return Sizes(tuple(rows), tuple(rates), predict(cap), largest, (*doubtful, *due))


def _believed(known: Sequence[Estimate]) -> tuple[set[int], list[int]]:
    """
    Return those of *known* that are believed, and those beyond the knee that may be quicker.

    Up to the knee all are believed: the smallest that certainly has nearly the best rate.
    """
    if not known:
        return set(), []
    enough = KNEE * max(it.rate / (1.0 + DOUBT * it.error) for it in known)
    knee = next(at for at, it in enumerate(known) if it.rate >= enough)
    best, believed, doubtful = known[knee], {it.rows for it in known[: knee + 1]}, []
    others = [it for it in known[:knee] if it.line is not best.line]
    apart = max(others, key=lambda it: it.rate, default=None)
    for it in known[knee + 1 :]:
        if _is_quicker(it, best, apart):
            apart = apart if it.line is best.line else best
            best = it
            believed.add(it.rows)
        elif it.error > UNSURE and _may_be_worth_it(it, best):
            doubtful.append(it.rows)
    return believed, doubtful


def _is_quicker(it: Estimate, best: Estimate, apart: Estimate | None) -> bool:
    """
    Whether *it* is beyond doubt quicker than the smaller *best*; *apart* is that of other lines.

    Along a line larger sizes share its start among more rows: what is certain there is the start.
    """
    if it.rate <= best.rate:
        return False
    goes_on = it.line is best.line and it.line.start > START * it.line.error_at(0.0)
    base = apart if goes_on else best
    return base is None or it.rate > base.rate * (1.0 + DOUBT * hypot(it.error, base.error))


def _may_be_worth_it(it: Estimate, best: Estimate) -> bool:
    gain = it.rate / best.rate - 1.0
    return gain + CHANCE * it.error > WORTH * log2(it.rows / best.rows)
