"""
Know the policies that are simulated, by the names that people give them, and the best fixed one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import click

from batcher.policy import FixedPolicy, LotPolicy, Policy
from scripts.load.units import Duration
from scripts.simulation.engine import History, World, simulate, simulate_fixed
from scripts.simulation.figures import Figures, figures_of
from scripts.simulation.service import Service

#: How long the head waits in the grid, in runs of one row.
WAITS = (0.0, 0.5, 1.0, 2.0, 5.0)

_FIXED = re.compile(r"fixed:([1-9][0-9]{0,8}),(.+)")


@dataclass(frozen=True, slots=True)
class Contender:
    """How to play one policy in any world."""

    name: str  #: as it was asked for
    make: Callable[[], Policy]  #: a new one for each world, since it may learn
    cap: int  #: the most rows that it may put into a run
    stable: float  #: the requests a second that each lane can serve so

    def play(self, world: World) -> Figures:
        """Return what comes of *world*."""
        return figures_of(simulate(world, self.make(), self.cap), world.slo)


def policy_named(text: str, service: Service) -> Contender:
    """Return what *text* names; raises UsageError."""
    if text == "auto":
        return Contender(text, LotPolicy, service.cap, service.best_rate)
    if text == "greedy":
        knee = service.knee
        return Contender(text, lambda: FixedPolicy(knee, 0.0), knee, service.best_rate)
    found = _FIXED.fullmatch(text)
    try:
        if found is not None:
            delay = Duration(zero=True).convert(found[2], None, None)
            rows = min(int(found[1]), service.cap)
            return Contender(text, lambda: FixedPolicy(rows, delay), rows, service.rate(rows))
    except click.BadParameter:
        pass
    raise click.UsageError(
        "--policy: expected auto, greedy or fixed:ROWS,SECONDS such as fixed:32,0.002, "
        f"got {text[:80]!r}"
    )


@dataclass(frozen=True, slots=True)
class Tuned:
    """The fixed settings that would have been the best, as one knows afterwards."""

    max_batch: int
    timeout: float  #: seconds
    figures: Figures

    @property
    def name(self) -> str:
        """What `policy_named` takes for it, rounded."""
        return f"fixed:{self.max_batch},{self.timeout * 1e3:.4g}ms"


def tuned(world: World, service: Service) -> Tuned:
    """
    Return the best of a grid of fixed settings: of those, the one with the least mean.

    With an SLO the share of answers in time goes first, to a thousandth: who answers next to
    nobody is quick.
    """
    sizes = sorted({*(1 << power for power in range(service.cap.bit_length())), service.cap})
    tried = (
        Tuned(rows, delay, figures_of(_played(world, FixedPolicy(rows, delay)), world.slo))
        for rows in sizes
        for delay in (share * service.seconds[1] for share in WAITS)
    )
    return min(tried, key=_badness)


def _played(world: World, policy: FixedPolicy) -> History:
    if world.lanes == 1 and world.slo == inf:
        return simulate_fixed(world, policy)
    return simulate(world, policy, policy.max_batch_size)


def _badness(each: Tuned) -> tuple[float, float]:
    mean = each.figures.mean_ms
    return -round(each.figures.goodput_share, 3), inf if mean is None else mean
