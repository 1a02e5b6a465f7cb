"""
Hold the server's own policy against the best that could have been set by hand.

Pure.  Each case is a model and a load; each of its seeds is a world in which the policy, greedy
batching at the true knee and a grid of fixed settings are played.  The policy learns on the way
what the others know: the load for which they were tuned, and where the knee is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean

from batcher.policy import FixedPolicy, LotPolicy
from scripts.simulation.engine import World, simulate, simulate_fixed
from scripts.simulation.figures import figures_of
from scripts.simulation.policies import WAITS, tuned
from scripts.simulation.service import Service, built_in, measured
from scripts.simulation.worlds import Chance, Terms, arrivals

#: Requests of a world, and the sigma of the noise of its runs.
REQUESTS, NOISE = 20_000, 0.05

LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PATTERNS = ("poisson", "mmpp")


def _tiled(rows: int) -> float:
    """Every 16 rows are a tile, and one tile after the other is worked on."""
    return 4.0 + 1.3 * -(-rows // 16)


#: The built-in ones; a classifier as it was measured on a core; a warm-up of all sizes, on steps.
SERVICES: dict[str, Service] = {
    **{name: built_in(name) for name in ("gpu", "pad", "cpu")},
    "efficientnet": measured(
        "efficientnet",
        {1: 0.0137, 2: 0.0208, 4: 0.0303, 8: 0.0517, 16: 0.1, 32: 0.217},
    ),
    "tiles": measured("tiles", {rows: _tiled(rows) / 1e3 for rows in range(1, 129)}),
    "gpu, all sizes": replace(built_in("gpu"), sizes=tuple(range(1, 129))),
}

#: Where clients wait for their answers: 4 + 0.1 b ms.
CLOSED = measured("closed", {1 << power: (4.0 + 0.1 * (1 << power)) / 1e3 for power in range(7)})
CLIENTS = (1, 2, 4, 8, 16, 32, 64)

#: Seconds that the front end spends on each answer, one after the other.
PER_ANSWER = (0.0, 0.0001, 0.0002, 0.0003, 0.0005)

#: The load up to which the bar for the mean is lower: beyond, a little less capacity is much more
#: waiting.
NEARLY = 0.9

#: What waiting for each other must bring the few clients up to *FEW*, where any setting brings it.
GAIN, FEW = 1.3, 8


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """Requests come whatever becomes of them."""

    service: str  #: one of `SERVICES`
    pattern: str
    load: float

    def __str__(self) -> str:
        return f"{self.service}, {self.pattern}, load {self.load:g}"

    def play(self, seed: int, requests: int = REQUESTS) -> dict[str, float]:
        """Return the ratios of the policy: of its mean and p99 to the tuned, mean to greedy."""
        service = SERVICES[self.service]
        terms = Terms(service, 1, inf, Chance(seed, NOISE))
        due = arrivals(self.pattern, self.load * terms.capacity, requests, terms)
        world = terms.open_world(due)
        auto = figures_of(simulate(world, LotPolicy(), service.cap))
        greedy = figures_of(simulate_fixed(world, FixedPolicy(service.knee, 0.0)))
        best = tuned(world, service).figures
        return {
            "mean": _ratio(auto.mean_ms, best.mean_ms),
            "p99": _ratio(auto.p99_ms, best.p99_ms),
            "greedy": _ratio(auto.mean_ms, greedy.mean_ms),
        }


@dataclass(frozen=True, slots=True, order=True)
class Closed:
    """Clients wait for their answers, and send the next request at once."""

    per_answer: float  #: seconds
    clients: int

    def __str__(self) -> str:
        return f"{self.clients} clients, {self.per_answer * 1e3:g} ms an answer"

    def play(self, seed: int, requests: int = REQUESTS) -> dict[str, float]:
        """
        Return the ratios of the policy's answers a second to greedy's and to the best fixed.

        A quarter of *requests* tells it: there is no chance in when they come.
        """
        terms = Terms(CLOSED, 1, inf, Chance(seed, NOISE))
        world = terms.closed_world(self.clients, 0.0, requests // 4, self.per_answer)
        auto = figures_of(simulate(world, LotPolicy(), CLOSED.cap)).rate
        greedy = figures_of(simulate_fixed(world, FixedPolicy(CLOSED.knee, 0.0))).rate
        return {"gain": _ratio(auto, greedy), "share": _ratio(auto, self._best_rate(world))}

    def _best_rate(self, world: World) -> float:
        """Return the most answers a second of the fixed settings, also that of all clients."""
        sizes = {*(1 << power for power in range(CLOSED.cap.bit_length())), self.clients}
        figures = (
            figures_of(simulate_fixed(world, FixedPolicy(rows, share * CLOSED.seconds[1])))
            for rows in sizes
            for share in WAITS
        )
        return max(each.rate or 0.0 for each in figures)


Case = Open | Closed

#: What came of the seeds of each case: ratios by name.
Found = Mapping[Case, Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a bar was kept, and where it was nearest to not being."""

    bar: str
    limit: float
    value: float  #: the mean of the seeds there
    where: Case | None  #: None: on average over all cases
    passed: bool


def mean(ratios: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the mean of the ratios of that name over the seeds."""
    return fmean(each[name] for each in ratios)


def judged(found: Found) -> Iterator[Verdict]:
    """Yield a verdict on each bar that *found* has cases for."""
    of_open = [case for case in found if isinstance(case, Open)]
    of_closed = [case for case in found if isinstance(case, Closed)]
    most = [case for case in of_open if case.load <= NEARLY]
    last = [case for case in of_open if case.load > NEARLY]
    few = [case for case in of_closed if 2 <= case.clients <= FEW]
    possible = [
        case for case in few if mean(found[case], "gain") >= GAIN * mean(found[case], "share")
    ]
    yield from _at_most(f"mean to tuned, to load {NEARLY}", 1.05, "mean", most, found)
    yield from _at_most("mean to tuned, beyond", 1.08, "mean", last, found)
    if of_open:
        average = fmean(mean(found[case], "mean") for case in of_open)
        yield Verdict("mean to tuned, on average", 1.02, average, None, average <= 1.02)
    yield from _at_most("p99 to tuned", 1.2, "p99", of_open, found)
    yield from _at_most("mean to greedy", 1.01, "greedy", of_open, found)
    yield from _at_least(f"rate to greedy, 2 to {FEW} clients", GAIN, "gain", possible, found)
    yield from _at_least(f"rate to the best fixed, 2 to {FEW} clients", 0.98, "share", few, found)
    yield from _at_least("rate to greedy", 0.99, "gain", of_closed, found)


def _at_most(
    bar: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = max((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bar}: at most", limit, value, where, value <= limit)


def _at_least(
    bar: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = min((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bar}: at least", limit, value, where, value >= limit)


def _ratio(value: float | None, to: float | None) -> float:
    """Return the ratio; inf where one of them is not there."""
    return value / to if value and to else inf
