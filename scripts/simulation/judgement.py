"""
Compare the server's own policy with the best fixed settings.

Pure.  Each case is a model and a load; each seed of a case is a workload.  Under each workload the
policy, greedy batching at the true knee and a grid of fixed settings are simulated.  The fixed
settings are tuned for the load, and the knee is given to greedy batching; the policy has to learn
both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean

from batcher.policy import FixedPolicy, LotPolicy
from scripts.simulation.engine import Workload, simulate, simulate_fixed
from scripts.simulation.figures import figures_of
from scripts.simulation.policies import DELAYS_IN_RUNS, tuned
from scripts.simulation.service import Service, built_in, measured
from scripts.simulation.workloads import Chance, Scenario, arrivals

#: The number of requests in a workload, and the sigma of the noise of run times.
REQUESTS, NOISE = 20_000, 0.05

LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PATTERNS = ("poisson", "mmpp")


def _tiled(rows: int) -> float:
    """Return the milliseconds of *rows* rows in tiles of 16, one tile after the other."""
    return 4.0 + 1.3 * -(-rows // 16)


#: Built-in services; a classifier as measured on one core; steps with a warm-up of all sizes.
SERVICES: dict[str, Service] = {
    **{name: built_in(name) for name in ("gpu", "pad", "cpu")},
    "efficientnet": measured(
        "efficientnet",
        {1: 0.0137, 2: 0.0208, 4: 0.0303, 8: 0.0517, 16: 0.1, 32: 0.217},
    ),
    "tiles": measured("tiles", {rows: _tiled(rows) / 1e3 for rows in range(1, 129)}),
    "gpu, all sizes": replace(built_in("gpu"), sizes=tuple(range(1, 129))),
}

#: The service of the closed loops: 4 + 0.1 b ms.
CLOSED = measured("closed", {1 << power: (4.0 + 0.1 * (1 << power)) / 1e3 for power in range(7)})
CLIENTS = (1, 2, 4, 8, 16, 32, 64)

#: Seconds that the front end takes for each answer; it sends one answer after the other.
PER_ANSWER = (0.0, 0.0001, 0.0002, 0.0003, 0.0005)

#: Above this load the bound for the mean is less strict: a little less capacity causes much longer
#: waits.
HIGH_LOAD = 0.9

#: The smallest ratio of the policy's rate to greedy's for 2 to `MAX_FEW_CLIENTS` clients, where a
#: fixed setting reaches this ratio.
MIN_GAIN, MAX_FEW_CLIENTS = 1.3, 8


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """A case of an open loop: requests arrive independently of the answers."""

    service: str  #: one of `SERVICES`
    pattern: str
    load: float

    def __str__(self) -> str:
        return f"{self.service}, {self.pattern}, load {self.load:g}"

    def play(self, seed: int, requests: int = REQUESTS) -> dict[str, float]:
        """
        Simulate the workload of *seed*; return the ratios of the policy's latencies, by name.

        `mean` and `p99` are ratios to the tuned setting; `greedy` is the ratio of the mean to the
        mean of greedy batching.  *requests* is the number of requests.
        """
        service = SERVICES[self.service]
        scenario = Scenario(service, 1, inf, Chance(seed, NOISE))
        due = arrivals(self.pattern, self.load * scenario.capacity, requests, scenario)
        workload = scenario.open_workload(due)
        auto = figures_of(simulate(workload, LotPolicy(), service.cap))
        greedy = figures_of(simulate_fixed(workload, FixedPolicy(service.knee, 0.0)))
        best = tuned(workload, service).figures
        return {
            "mean": _ratio(auto.mean_ms, best.mean_ms),
            "p99": _ratio(auto.p99_ms, best.p99_ms),
            "greedy": _ratio(auto.mean_ms, greedy.mean_ms),
        }


@dataclass(frozen=True, slots=True, order=True)
class Closed:
    """
    A case of a closed loop: each client sends its next request as soon as its last one is answered.
    """

    per_answer: float  #: seconds
    clients: int

    def __str__(self) -> str:
        return f"{self.clients} clients, {self.per_answer * 1e3:g} ms an answer"

    def play(self, seed: int, requests: int = REQUESTS) -> dict[str, float]:
        """
        Simulate the workload of *seed*; return, by name, ratios of answers per second.

        `gain` is the policy's rate divided by that of greedy batching, `share` divided by that of
        the best fixed setting.  Only a quarter of *requests* are simulated: that is enough, because
        the arrivals are not random.
        """
        scenario = Scenario(CLOSED, 1, inf, Chance(seed, NOISE))
        workload = scenario.closed_workload(self.clients, 0.0, requests // 4, self.per_answer)
        auto = figures_of(simulate(workload, LotPolicy(), CLOSED.cap)).rate
        greedy = figures_of(simulate_fixed(workload, FixedPolicy(CLOSED.knee, 0.0))).rate
        return {"gain": _ratio(auto, greedy), "share": _ratio(auto, self._best_rate(workload))}

    def _best_rate(self, workload: Workload) -> float:
        """
        Return the answers per second of the best fixed setting for *workload*.

        The batch sizes tried are the powers of two up to the cap, and the number of clients.
        """
        sizes = {*(1 << power for power in range(CLOSED.cap.bit_length())), self.clients}
        figures = (
            figures_of(simulate_fixed(workload, FixedPolicy(rows, share * CLOSED.seconds[1])))
            for rows in sizes
            for share in DELAYS_IN_RUNS
        )
        return max(each.rate or 0.0 for each in figures)


Case = Open | Closed

#: For each case and each of its seeds: the ratios by name.
Found = Mapping[Case, Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a bound holds, and the case with the worst value."""

    bound: str
    limit: float
    value: float  #: the mean over the seeds of that case
    where: Case | None  #: None: on average over all cases
    passed: bool


def mean(ratios: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the mean of the ratio *name* over *ratios*, which has the ratios of each seed."""
    return fmean(each[name] for each in ratios)


def judged(found: Found) -> Iterator[Verdict]:
    """Yield a verdict on each bound; skip the bounds for which *found* has no cases."""
    of_open = [case for case in found if isinstance(case, Open)]
    of_closed = [case for case in found if isinstance(case, Closed)]
    most = [case for case in of_open if case.load <= HIGH_LOAD]
    last = [case for case in of_open if case.load > HIGH_LOAD]
    few = [case for case in of_closed if 2 <= case.clients <= MAX_FEW_CLIENTS]
    possible = [
        case for case in few if mean(found[case], "gain") >= MIN_GAIN * mean(found[case], "share")
    ]
    yield from _at_most(f"mean to tuned, to load {HIGH_LOAD}", 1.05, "mean", most, found)
    yield from _at_most("mean to tuned, beyond", 1.08, "mean", last, found)
    if of_open:
        average = fmean(mean(found[case], "mean") for case in of_open)
        yield Verdict("mean to tuned, on average", 1.02, average, None, average <= 1.02)
    yield from _at_most("p99 to tuned", 1.2, "p99", of_open, found)
    yield from _at_most("mean to greedy", 1.01, "greedy", of_open, found)
    clients = f"2 to {MAX_FEW_CLIENTS} clients"
    yield from _at_least(f"rate to greedy, {clients}", MIN_GAIN, "gain", possible, found)
    yield from _at_least(f"rate to the best fixed, {clients}", 0.98, "share", few, found)
    yield from _at_least("rate to greedy", 0.99, "gain", of_closed, found)


def _at_most(
    bound: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = max((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bound}: at most", limit, value, where, value <= limit)


def _at_least(
    bound: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = min((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bound}: at least", limit, value, where, value >= limit)


def _ratio(value: float | None, to: float | None) -> float:
    """Return *value* / *to*; inf if either of them is None or 0."""
    return value / to if value and to else inf
