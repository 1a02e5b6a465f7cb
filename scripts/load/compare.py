"""
Apply the same load to two servers in turn, and compute the ratios of their figures.

A machine is faster in one minute than in the next, so ratios are taken within a round; the order of
the two servers alternates from round to round.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median

from scripts.load.summary import Summary

#: The figures that are compared: a higher rate and a lower latency are better.
FIGURES = ("rate", "goodput", "p50_ms", "p90_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True)
class Ratio:
    """
    Median, least and most over the rounds of the first server's figure divided by the second's.
    """

    median: float
    least: float
    most: float
    rounds: int  #: rounds in which both servers have the figure; an infinite percentile is none


@dataclass(frozen=True, slots=True)
class Comparison:
    """The summaries of both servers, one per server and complete round; `compare` appends them."""

    first: list[Summary] = field(default_factory=list)
    second: list[Summary] = field(default_factory=list)

    def ratios(self) -> dict[str, Ratio]:
        """Return the ratios by figure; skip figures that no round has for both servers."""
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
    """
    Measure both servers in each of *rounds* rounds, and append the summaries to *seen*.

    *measures* has one function for each server; it takes the number of the round, from 0, and
    returns the summary.
    """
    for number in range(rounds):
        figures = {
            which: await measures[which](number)
            for which in ((0, 1) if number % 2 == 0 else (1, 0))
        }
        seen.first.append(figures[0])
        seen.second.append(figures[1])
