"""
The cases on a quiet machine: compare the server's own policy with the best fixed settings.

Pure.  Each case is a model and a load; each seed of a case is a workload.  Under each workload the
policy, greedy batching at the true knee and a grid of fixed settings are simulated.  The fixed
settings are tuned for the load, and the knee is given to greedy batching; the policy has to learn
both.
"""

from dataclasses import dataclass, replace
from math import inf

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


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """A case of an open loop: requests arrive independently of the answers."""

    service: str  #: one of `SERVICES`
    pattern: str
    load: float
    requests: int = REQUESTS

    def __str__(self) -> str:
        return f"{self.service}, {self.pattern}, load {self.load:g}"

    def play(self, seed: int) -> dict[str, float]:
        """
        Simulate the workload of *seed*; return the ratios of the policy's latencies, by name.

        `mean` and `p99` are ratios to the tuned setting; `greedy` is the ratio of the mean to the
        mean of greedy batching.
        """
        service = SERVICES[self.service]
        scenario = Scenario(service, 1, inf, Chance(seed, NOISE))
        due = arrivals(self.pattern, self.load * scenario.capacity, self.requests, scenario)
        workload = scenario.open_workload(due)
        auto = figures_of(simulate(workload, LotPolicy(), service.cap))
        greedy = figures_of(simulate_fixed(workload, FixedPolicy(service.knee, 0.0)))
        best = tuned(workload, service).figures
        return {
            "mean": ratio(auto.mean_ms, best.mean_ms),
            "p99": ratio(auto.p99_ms, best.p99_ms),
            "greedy": ratio(auto.mean_ms, greedy.mean_ms),
        }


@dataclass(frozen=True, slots=True, order=True)
class Closed:
    """
    A case of a closed loop: each client sends its next request as soon as its last one is answered.
    """

    per_answer: float  #: seconds
    clients: int
    requests: int = REQUESTS // 4  #: fewer are enough, because the arrivals are not random

    def __str__(self) -> str:
        return f"{self.clients} clients, {self.per_answer * 1e3:g} ms an answer"

    def play(self, seed: int) -> dict[str, float]:
        """
        Simulate the workload of *seed*; return, by name, ratios of answers per second.

        `gain` is the policy's rate divided by that of greedy batching, `share` divided by that of
        the best fixed setting.
        """
        scenario = Scenario(CLOSED, 1, inf, Chance(seed, NOISE))
        workload = scenario.closed_workload(self.clients, 0.0, self.requests, self.per_answer)
        auto = figures_of(simulate(workload, LotPolicy(), CLOSED.cap)).rate
        greedy = figures_of(simulate_fixed(workload, FixedPolicy(CLOSED.knee, 0.0))).rate
        return {"gain": ratio(auto, greedy), "share": ratio(auto, self._best_rate(workload))}

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


def ratio(value: float | None, to: float | None) -> float:
    """Return *value* / *to*; inf if either of them is None or 0."""
    return value / to if value and to else inf
