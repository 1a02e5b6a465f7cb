"""
The simulated policies by their names, and the search for the best fixed setting.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import click

from batcher.policy import FixedPolicy, LotPolicy, Policy
from scripts.load.units import Duration
from scripts.simulation.engine import History, Workload, simulate, simulate_fixed
from scripts.simulation.figures import Figures, figures_of
from scripts.simulation.service import Service

#: The delays of the fixed settings that `tuned` tries, in durations of a run of one row.
DELAYS_IN_RUNS = (0.0, 0.5, 1.0, 2.0, 5.0)

_FIXED = re.compile(r"fixed:([1-9][0-9]{0,8}),(.+)")


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy to be simulated under any workload."""

    name: str  #: as given in the options
    make: Callable[[], Policy]  #: makes a new policy for each workload, because a policy may learn
    cap: int  #: the largest batch, in rows
    max_rate: float  #: the most requests per second that a lane can serve with this policy

    def figures_for(self, workload: Workload) -> Figures:
        """Simulate *workload* under a new policy, and return the figures."""
        return figures_of(simulate(workload, self.make(), self.cap), workload.slo)


def policy_named(text: str, service: Service) -> Contender:
    """
    Return the policy that *text* names: auto, greedy or fixed:ROWS,SECONDS; raises UsageError.
    """
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
    """The best fixed setting for a workload, found by simulating that workload."""

    max_batch: int
    timeout: float  #: seconds
    figures: Figures

    @property
    def name(self) -> str:
        """The setting in the form that `policy_named` takes, with the timeout rounded."""
        return f"fixed:{self.max_batch},{self.timeout * 1e3:.4g}ms"


def tuned(workload: Workload, service: Service) -> Tuned:
    """
    Return the best of a grid of fixed settings: the one with the least mean latency.

    With an SLO, the setting with the larger share of requests answered in time, rounded to a
    thousandth, is better; the mean latency decides between equal shares.  Reason: a setting with
    few answers has low latencies.
    """
    sizes = sorted({*(1 << power for power in range(service.cap.bit_length())), service.cap})
    tried = (
        Tuned(rows, delay, figures_of(_history(workload, FixedPolicy(rows, delay)), workload.slo))
        for rows in sizes
        for delay in (share * service.seconds[1] for share in DELAYS_IN_RUNS)
    )
    return min(tried, key=_cost)


def _history(workload: Workload, policy: FixedPolicy) -> History:
    if workload.lanes == 1 and workload.slo == inf:
        return simulate_fixed(workload, policy)
    return simulate(workload, policy, policy.max_batch_size)


def _cost(each: Tuned) -> tuple[float, float]:
    mean = each.figures.mean_ms
    return -round(each.figures.goodput_share, 3), inf if mean is None else mean
