"""
Decide which batch sizes are worth running.

A larger batch makes all its requests wait longer, and noise makes one of several equally quick
sizes look best.  A size beyond the knee, which is the smallest size with nearly the best rate, is
therefore worth running only if its rate is clearly better.  Pure; imports nothing of ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

KNEE_RATE_SHARE = 0.95  #: of the best rows per second; larger sizes gain next to nothing
MIN_GAIN_BEYOND_KNEE = 0.01  #: by which the rate of a size beyond the knee must be better
MIN_RUN_SECONDS = 1e-9  #: no run is shorter


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    The batch sizes worth running, in rows, ascending.

    The rate of a size is the predicted one, lowered by `MIN_GAIN_BEYOND_KNEE` beyond the knee.  It
    is higher than those of all smaller sizes.
    """

    rows: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()  #: the rate of each size, in rows per second
    longest: float = 0.0  #: expected seconds of a run at the cap
    measured: int = 0  #: the largest measured size; 0 if no size is measured


def rate_of(rows: int, seconds: float) -> float:
    """Return the rate, in rows per second, of runs of *rows* rows that take *seconds*."""
    return rows / max(seconds, MIN_RUN_SECONDS)


def choose_sizes(
    measured: Sequence[int], cap: int, knee: int, predict: Callable[[int], float]
) -> Sizes:
    """
    Return the sizes worth running, up to the largest of *measured*, the measured sizes up to *cap*.

    *predict* returns the expected seconds of a run of any size.  Beyond the *knee* only measured
    sizes are worth running: the time may have a step anywhere between two of them.
    """
    rows: list[int] = []
    rates: list[float] = []
    for size in (*range(1, knee + 1), *(it for it in measured if it > knee)):
        rate = rate_of(size, predict(size))
        if size > knee:
            rate /= 1.0 + MIN_GAIN_BEYOND_KNEE
        if not rates or rate > rates[-1]:
            rows.append(size)
            rates.append(rate)
    return Sizes(tuple(rows), tuple(rates), predict(cap), measured[-1])
