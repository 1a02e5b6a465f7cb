"""
Say when requests are due: seconds from the start of a load, in order.

Pure but for `read_trace`.  Rates are requests a second.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path

#: What bursts alternate between, as shares of the mean rate.
BURST, LULL = 1.8, 0.2

#: How long a burst or a lull lasts on average, in seconds.
SOJOURN = 0.5

#: The first arrival of a trace comes within a day, or its times are no seconds from the start.
MOST_AWAITED = 86_400.0

#: Yields the times of a load of this rate, this many seconds long, from a source of chance.
Pattern = Callable[[float, float, random.Random], Iterator[float]]


def poisson(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Yield independent arrivals, as many clients who know nothing of each other make them."""
    time = chance.expovariate(rate)
    while time < seconds:
        yield time
        time += chance.expovariate(rate)


def constant(rate: float, seconds: float, _: random.Random) -> Iterator[float]:
    """Yield arrivals at equal distances, the first at once."""
    number = 0
    while number / rate < seconds:
        yield number / rate
        number += 1


def bursts(
    rate: float, seconds: float, chance: random.Random, sojourn: float = SOJOURN
) -> Iterator[float]:
    """Yield independent arrivals, *sojourn* s on average at `BURST` or at `LULL` times the rate."""
    began, share = 0.0, chance.choice((BURST, LULL))
    while began < seconds:
        ends = min(seconds, began + chance.expovariate(1 / sojourn))
        for time in poisson(rate * share, ends - began, chance):
            yield began + time
        began, share = ends, BURST + LULL - share


#: What can be asked for by name.
PATTERNS: dict[str, Pattern] = {"poisson": poisson, "constant": constant, "bursts": bursts}


def read_trace(path: Path) -> Sequence[float]:
    """
    Return the arrival times in the file at *path*: seconds, one a line, in order.

    Raises ValueError for anything else, naming the line.
    """
    times: list[float] = []
    for number, line in enumerate(path.read_text().rstrip().splitlines(), 1):
        try:
            time = float(line)
        except ValueError:
            time = -1.0
        if not isfinite(time) or time < (times[-1] if times else 0.0):
            raise ValueError(f"line {number}: expected seconds, none before the last; got {line!r}")
        times.append(time)
    if not times or times[-1] == 0:
        raise ValueError("expected arrival times, seconds, one a line, some of them after 0")
    if times[0] > MOST_AWAITED:
        raise ValueError(f"expected seconds from the start, but the first arrival is {times[0]:g}")
    return times


def replayed(times: Iterable[float], speed: float, seconds: float) -> Iterator[float]:
    """Yield *times* at *speed* times their own, up to *seconds* of the faster time."""
    for time in times:
        if time / speed >= seconds:
            return
        yield time / speed
