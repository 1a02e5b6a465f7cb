"""
Make up the worlds that are simulated: when requests come, and how chance stretches the runs.

Each kind of chance has a stream of its own from the seed, so that two worlds of the same seed
differ in nothing but what was asked to differ.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

import click

from batcher.learning.latency import trimmed_mean, warmup_runs
from scripts.load.arrivals import bursts, poisson
from scripts.simulation.engine import START, Noise, World
from scripts.simulation.service import Service

#: How long a burst or a lull lasts on average, in runs of the largest size.
SOJOURN = 3

#: Fewer arrivals than these within a burst make it as good as none.
LEAST_IN_BURST = 0.01

#: Runs of one row that a world lasts at most: the times would have too few digits for longer ones.
LONGEST = 1e10


@dataclass(frozen=True, slots=True)
class Chance:
    """What is random, and how much."""

    seed: int
    noise: float  #: the standard deviation of the logarithm of what runs take

    def stream(self, name: str) -> random.Random:
        """Return the source of what is called *name*."""
        return random.Random(f"{name} {self.seed}")  # noqa: S311 - not for secrets

    def noise_of(self, requests: int) -> Noise:
        """Return what stretches the runs of so many requests."""
        return self._noise(self.stream("noise"), requests)

    def warmed(self, source: random.Random, seconds: float) -> float:
        """Return what a warm-up tells of runs that take *seconds* on average."""
        noise = self._noise(source, warmup_runs(seconds))
        return seconds * trimmed_mean([noise.stretch([share]) for share in noise.shares])

    def _noise(self, source: random.Random, count: int) -> Noise:
        return Noise(self.noise, [source.gauss(0.0, 1.0) for _ in range(count)])


@dataclass(frozen=True, slots=True)
class Terms:
    """What is the same for every load."""

    service: Service
    lanes: int
    slo: float
    chance: Chance

    @property
    def capacity(self) -> float:
        """The most rows a second of all lanes."""
        return self.service.best_rate * self.lanes

    def open_world(self, due: Sequence[float]) -> World:
        """Return the world of requests *due* at these seconds from its start; raises UsageError."""
        return self._world([START + time for time in due], len(due), None, due[-1])

    def closed_world(
        self, clients: int, think: float, requests: int, per_answer: float = 0.0
    ) -> World:
        """
        Return the world of *clients* who wait for their answers, and *think*.

        They are answered one by one, *per_answer* seconds each.
        """
        clients = min(clients, requests)
        world = self._world([START] * clients, requests, think, think * requests / clients)
        return replace(world, per_answer=per_answer)

    def _world(
        self, due: Sequence[float], requests: int, think: float | None, lasts: float
    ) -> World:
        service, chance = self.service, self.chance
        if not lasts < LONGEST * service.seconds[1]:
            raise click.UsageError(
                f"{requests:,} requests in {lasts:.3g} s never meet each other: nothing to simulate"
            )
        warm = chance.stream("warm-up")
        return World(
            seconds=service.seconds,
            measured={rows: chance.warmed(warm, service.seconds[rows]) for rows in service.sizes},
            noise=chance.noise_of(requests),
            due=due,
            requests=requests,
            think=think,
            slo=self.slo,
            lanes=self.lanes,
        )


def arrivals(pattern: str, rate: float, requests: int, terms: Terms) -> list[float]:
    """Return when *requests* are due, at *rate* a second; *pattern* is poisson or mmpp."""
    source = terms.chance.stream("arrivals")
    if pattern == "poisson":
        return list(islice(poisson(rate, inf, source), requests))
    sojourn = SOJOURN * terms.service.seconds[-1]
    if rate * sojourn < LEAST_IN_BURST:
        raise click.UsageError(
            f"at {rate:.3g}/s bursts of {sojourn:.3g} s make no difference: use poisson"
        )
    return list(islice(bursts(rate, inf, source, sojourn), requests))


def rate_of(times: Sequence[float]) -> float | None:
    """Return how many of the requests due at *times* come a second; None where all do at once."""
    lasted = times[-1] - times[0]
    return (len(times) - 1) / lasted if lasted > 0.0 else None


def at_rate(times: Sequence[float], rate: float) -> list[float]:
    """Return *times* as fast or slow as it takes for *rate* a second; raises UsageError."""
    own = rate_of(times)
    if own is None:
        raise click.UsageError("the file of arrivals has no rate to change: all come at once")
    return [(time - times[0]) * own / rate for time in times]
