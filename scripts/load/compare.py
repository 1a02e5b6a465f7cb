"""
Put the same loads on two servers in turn, and tell how they compare.

A machine is faster in one minute than in the next, so what counts is the ratio within a round; each
round goes to the two in the other order than the last.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median

from scripts.load.summary import Summary

#: What is compared; of the first ones more is better, of latencies less.
FIGURES = ("rate", "goodput", "p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True)
class Ratio:
    """The first server's figure over the second's, over all rounds."""

    median: float
    least: float
    most: float
    rounds: int  #: that had the figure of both; an endless percentile is none


@dataclass(frozen=True, slots=True)
class Comparison:
    """What each round showed of the two; grows with each that both have had."""

    first: list[Summary] = field(default_factory=list)
    second: list[Summary] = field(default_factory=list)

    def ratios(self) -> dict[str, Ratio]:
        """Return for each figure how the two compare, where rounds have it of both."""
        found = {}
        for name in FIGURES:
            pairs = [
                (getattr(one, name), getattr(other, name))
                for one, other in zip(self.first, self.second, strict=True)
            ]
            each = [one / other for one, other in pairs if one is not None and other]
            if each:
                found[name] = Ratio(median(each), min(each), max(each), len(each))
        return found


async def compare(
    measures: tuple[Callable[[int], Awaitable[Summary]], Callable[[int], Awaitable[Summary]]],
    rounds: int,
    seen: Comparison,
) -> None:
    """Put *rounds* rounds to *seen*; each measure is given the number of its round."""
    for number in range(rounds):
        figures = {
            which: await measures[which](number)
            for which in ((0, 1) if number % 2 == 0 else (1, 0))
        }
        seen.first.append(figures[0])
        seen.second.append(figures[1])
