"""
Make the simulated workloads: the times of arrivals, and the random factors of run times.

Each kind of random number has a stream of its own, derived from the seed.  So two workloads of the
same seed differ only in what their options change.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

import click

from model.execution.warmup_runs import trimmed_mean, warmup_runs
from scripts.load.arrivals import bursts, poisson
from scripts.simulation.engine import START, Noise, Workload
from scripts.simulation.service import Service

#: The mean duration of a burst or a lull, in runs of the largest size.
SOJOURN_RUNS = 3

#: The least mean number of arrivals in a burst: with fewer, bursts make no difference.
MIN_ARRIVALS_IN_BURST = 0.01

#: The longest workload, in runs of one row: a float has too few digits for longer ones.
MAX_DURATION_RUNS = 1e10


@dataclass(frozen=True, slots=True)
class Chance:
    """The source of the random numbers of a workload."""

    seed: int
    noise: float  #: the standard deviation of the logarithm of run times

    def stream(self, name: str) -> random.Random:
        """Return a new random generator, which the seed and *name* determine."""
        return random.Random(f"{name} {self.seed}")  # noqa: S311 - not for secrets

    def noise_for(self, requests: int) -> Noise:
        """Return the noise of the run times of *requests* requests."""
        return self._noise(self.stream("noise"), requests)

    def warmup_seconds(self, source: random.Random, seconds: float) -> float:
        """
        Return the seconds of a run that a warm-up measures if runs take *seconds* on average.

        *source* yields the random numbers.
        """
        noise = self._noise(source, warmup_runs(seconds))
        return seconds * trimmed_mean([noise.factor([share]) for share in noise.shares])

    def _noise(self, source: random.Random, count: int) -> Noise:
        return Noise(self.noise, [source.gauss(0.0, 1.0) for _ in range(count)])


@dataclass(frozen=True, slots=True)
class Scenario:
    """The options that are the same for every load."""

    service: Service
    lanes: int
    slo: float
    chance: Chance

    @property
    def capacity(self) -> float:
        """The most rows per second of all lanes together."""
        return self.service.best_rate * self.lanes

    def open_workload(self, due: Sequence[float]) -> Workload:
        """
        Return the workload with arrivals at *due*, ascending seconds from its start.

        Raises UsageError if it lasts so long that requests never share a batch.
        """
        return self._workload([START + time for time in due], len(due), None, due[-1])

    def closed_workload(
        self, clients: int, think: float, requests: int, per_answer: float = 0.0
    ) -> Workload:
        """
        Return the workload of *clients* that send a request *think* seconds after each answer.

        Together they send *requests*.  The answers are sent one by one, *per_answer* seconds each.
        Raises UsageError if it lasts so long that requests never share a batch.
        """
        clients = min(clients, requests)
        workload = self._workload([START] * clients, requests, think, think * requests / clients)
        return replace(workload, per_answer=per_answer)

    def _workload(
        self, due: Sequence[float], requests: int, think: float | None, lasts: float
    ) -> Workload:
        service, chance = self.service, self.chance
        if not lasts < MAX_DURATION_RUNS * service.seconds[1]:
            raise click.UsageError(
                f"{requests:,} requests in {lasts:.3g} s never share a batch: nothing to simulate"
            )
        warm = chance.stream("warm-up")
        return Workload(
            seconds=service.seconds,
            measured={
                rows: chance.warmup_seconds(warm, service.seconds[rows]) for rows in service.sizes
            },
            noise=chance.noise_for(requests),
            due=due,
            requests=requests,
            think=think,
            slo=self.slo,
            lanes=self.lanes,
        )


def arrivals(pattern: str, rate: float, requests: int, scenario: Scenario) -> list[float]:
    """
    Return *requests* arrival times in seconds, at a mean of *rate* requests per second.

    *pattern* is poisson or mmpp.  Raises UsageError if the bursts of mmpp are too short for *rate*.
    """
    source = scenario.chance.stream("arrivals")
    if pattern == "poisson":
        return list(islice(poisson(rate, inf, source), requests))
    sojourn = SOJOURN_RUNS * scenario.service.seconds[-1]
    if rate * sojourn < MIN_ARRIVALS_IN_BURST:
        raise click.UsageError(
            f"at {rate:.3g}/s bursts of {sojourn:.3g} s make no difference: use poisson"
        )
    return list(islice(bursts(rate, inf, source, sojourn), requests))


def rate_of(times: Sequence[float]) -> float | None:
    """Return the mean requests per second of arrivals at *times*; None if all arrive at once."""
    lasted = times[-1] - times[0]
    return (len(times) - 1) / lasted if lasted > 0.0 else None


def at_rate(times: Sequence[float], rate: float) -> list[float]:
    """
    Return *times* scaled to *rate* requests per second; raises UsageError if all arrive at once.
    """
    own = rate_of(times)
    if own is None:
        raise click.UsageError("the file of arrivals has no rate to change: all arrive at once")
    return [(time - times[0]) * own / rate for time in times]
