"""
Generate the arrival times of a load, ascending, in seconds from its start.

Pure, except for `read_trace`.  Rates are requests a second.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path

#: The two rates that bursts alternate between, as shares of the mean rate.
BURST_RATE_SHARE, LULL_RATE_SHARE = 1.8, 0.2

#: The mean length of a burst, and of a lull, in seconds.
MEAN_SOJOURN_SECONDS = 0.5

#: The latest first arrival of a trace: a later one is probably a date, not seconds from the start.
MAX_FIRST_ARRIVAL_SECONDS = 86_400.0

#: Yields the arrival times of a load, given its rate (requests/s), its length (seconds) and a
#: random generator.
Pattern = Callable[[float, float, random.Random], Iterator[float]]


def poisson(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Yield the times of a Poisson process: independent arrivals, like those of many clients."""
    time = chance.expovariate(rate)
    while time < seconds:
        yield time
        time += chance.expovariate(rate)


def constant(rate: float, seconds: float, _: random.Random) -> Iterator[float]:
    """Yield times that are 1/*rate* seconds apart, the first at 0."""
    number = 0
    while number / rate < seconds:
        yield number / rate
        number += 1


def bursts(
    rate: float, seconds: float, chance: random.Random, sojourn: float = MEAN_SOJOURN_SECONDS
) -> Iterator[float]:
    """
    Yield the times of independent arrivals whose rate alternates between a burst and a lull.

    The two rates are `BURST_RATE_SHARE` and `LULL_RATE_SHARE` times *rate*; a burst and a lull each
    last *sojourn* seconds on average.
    """
    began, share = 0.0, chance.choice((BURST_RATE_SHARE, LULL_RATE_SHARE))
    while began < seconds:
        ends = min(seconds, began + chance.expovariate(1 / sojourn))
        for time in poisson(rate * share, ends - began, chance):
            yield began + time
        began, share = ends, BURST_RATE_SHARE + LULL_RATE_SHARE - share


#: The patterns by the names that ``--arrivals`` takes.
PATTERNS: dict[str, Pattern] = {"poisson": poisson, "constant": constant, "bursts": bursts}


def read_trace(path: Path) -> Sequence[float]:
    """
    Return the arrival times in the file at *path*: seconds, one per line, ascending.

    Raises OSError if the file cannot be read, and ValueError if its content is not of this form.
    """
    times: list[float] = []
    for number, line in enumerate(path.read_text().rstrip().splitlines(), 1):
        try:
            time = float(line)
        except ValueError:
            time = -1.0
        if not isfinite(time) or time < (times[-1] if times else 0.0):
            raise ValueError(
                f"line {number}: expected seconds, not less than the line before; got {line!r}"
            )
        times.append(time)
    if not times or times[-1] == 0:
        raise ValueError("expected arrival times in seconds, one per line, the last greater than 0")
    if times[0] > MAX_FIRST_ARRIVAL_SECONDS:
        raise ValueError(f"expected seconds from the start, but the first arrival is {times[0]:g}")
    return times


def replayed(times: Iterable[float], speed: float, seconds: float) -> Iterator[float]:
    """Yield each of *times* divided by *speed*; stop at the first quotient of *seconds* or more."""
    for time in times:
        if time / speed >= seconds:
            return
        yield time / speed
