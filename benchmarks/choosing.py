"""
`python -m benchmarks.choosing`: the better of two workers, round robin and random, simulated.

Three workers, one of which takes three times as long for each request; a worker runs one request at
a time and reports its expected wait every second.  The better of two is chosen by the directory of
the registry, whose clock is that of the simulation.  In an open loop requests arrive at random
times; in a closed loop each client sends its next request after its answer.  The exit code is 1 if
a bound does not hold.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify, heapreplace
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np

from benchmarks.kept import json_option, stamped, write
from benchmarks.tables import middle, table
from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.directory import Directory

#: Seconds of one request, by worker.
SERVICES = (0.010, 0.010, 0.030)

#: The most requests/s of all workers together.
CAPACITY = sum(1.0 / seconds for seconds in SERVICES)

#: The sigma of the logarithm of a random factor of each service time, whose mean is 1.
NOISE = 0.3

REPORT_SECONDS = 1.0

#: The rates of the open loops, relative to the capacity.  Round robin overloads the slow worker
#: above 0.43.
LOADS = (0.2, 0.3, 0.4, 0.7, 0.9)

CLIENTS = (4, 16, 64)

#: The p99 of the better of two is at most this share of the p99 of round robin, and its rate in a
#: closed loop at least the other one.
MAX_P99_RATIO, MIN_RATE_RATIO = 0.5, 1.0

MODEL = "model"

#: Returns the index of the worker for the next request.
Choose = Callable[[], int]

#: Returns how the workers of a fleet are chosen.
Way = Callable[["Fleet"], Choose]


@dataclass(slots=True)
class Worker:
    """A worker that runs one request at a time, in the order of their arrival."""

    seconds: float  #: of one request, on average
    free_at: float = 0.0

    def take(self, now: float, factor: float) -> float:
        """Return when a request that arrives *now* is answered."""
        self.free_at = max(self.free_at, now) + self.seconds * factor
        return self.free_at

    def load(self, now: float) -> ModelLoad:
        """Return what the worker reports at *now*."""
        return ModelLoad(max(0.0, self.free_at - now) + self.seconds, self.seconds)


@dataclass(slots=True)
class Fleet:
    """The workers, the time, and the reports that a registry has received."""

    random: Random
    now: float = 0.0
    workers: Sequence[Worker] = field(default_factory=lambda: [*map(Worker, SERVICES)])
    members: Members = field(init=False)
    _reports: list[tuple[float, int]] = field(init=False)  #: when each worker reports next

    def __post_init__(self) -> None:
        self.members = Members("leases", lambda: self.now)
        for number in range(len(self.workers)):
            self._report(number)
        self._reports = [
            (REPORT_SECONDS * self.random.random(), it) for it in range(len(self.workers))
        ]
        heapify(self._reports)

    def advance(self, due: float) -> None:
        """Let the time pass until *due*, with the reports until then."""
        while self._reports[0][0] <= due:
            self.now, number = self._reports[0]
            self._report(number)
            heapreplace(self._reports, (self.now + REPORT_SECONDS, number))
        self.now = due

    def _report(self, number: int) -> None:
        load = self.workers[number].load(self.now)
        self.members.put(WorkerRecord(str(number), "127.0.0.1", 1 + number, {MODEL: load}))


def better_of_two(fleet: Fleet) -> Choose:
    """Return the choice of a registry."""
    directory = Directory(lambda: fleet.now, fleet.random.random)
    directory.add(fleet.members)
    return lambda: int(directory.choose(MODEL).id)


def round_robin(fleet: Fleet) -> Choose:
    """Return the choice of each worker in turn."""
    turns = cycle(range(len(fleet.workers)))
    return lambda: next(turns)


def at_random(fleet: Fleet) -> Choose:
    """Return the choice of any worker."""
    return lambda: fleet.random.randrange(len(fleet.workers))


OURS, THEIRS = "better of two", "round robin"
WAYS: Mapping[str, Way] = {OURS: better_of_two, THEIRS: round_robin, "random": at_random}


def arrivals(load: float, requests: int, random: Random) -> Iterable[float]:
    """Yield the times of *requests* requests at *load* of the capacity."""
    now = 0.0
    for _ in range(requests):
        now += random.expovariate(load * CAPACITY)
        yield now


def play_open(way: Way, seed: int, *, load: float, requests: int) -> dict[str, float]:
    """Return the figures of an open loop; the arrivals and noise of a seed are equal in any way."""
    due, noise = Random(seed), np.random.default_rng(seed)  # noqa: S311 - no secret
    factors = noise.lognormal(-(NOISE**2) / 2, NOISE, requests)
    fleet = Fleet(Random(seed + 1))  # noqa: S311 - no secret
    choose = way(fleet)
    latencies = np.empty(requests)
    for number, now in enumerate(arrivals(load, requests, due)):
        fleet.advance(now)
        latencies[number] = fleet.workers[choose()].take(now, factors[number]) - now
    ended = max(worker.free_at for worker in fleet.workers)
    return _figures(latencies, requests / ended)


def play_closed(way: Way, seed: int, *, clients: int, requests: int) -> dict[str, float]:
    """Return the figures of a closed loop of *clients* clients."""
    noise = np.random.default_rng(seed)
    factors = noise.lognormal(-(NOISE**2) / 2, NOISE, requests)
    fleet = Fleet(Random(seed + 1))  # noqa: S311 - no secret
    choose = way(fleet)
    ready = [(0.0, client) for client in range(clients)]
    latencies = np.empty(requests)
    for number in range(requests):
        now, client = ready[0]
        fleet.advance(now)
        answered = fleet.workers[choose()].take(now, factors[number])
        latencies[number] = answered - now
        heapreplace(ready, (answered, client))
    return _figures(latencies, requests / fleet.now)


def _figures(latencies: "np.ndarray[Any, np.dtype[np.float64]]", rate: float) -> dict[str, float]:
    return {
        "rate": round(rate, 3),
        "mean_ms": round(float(latencies.mean()) * 1e3, 3),
        "p99_ms": round(float(np.percentile(latencies, 99)) * 1e3, 3),
    }


def measure(requests: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each loop and way, with a list of each figure: one for each seed."""
    loops: dict[str, Callable[[Way, int], dict[str, float]]] = {
        **{
            f"load {load:g}": partial(play_open, load=load, requests=requests) for load in LOADS
        },
        **{
            f"{clients} clients": partial(play_closed, clients=clients, requests=requests)
            for clients in CLIENTS
        },
    }  # fmt: skip
    rows = []
    for loop, play in loops.items():
        for name, way in WAYS.items():
            found = [play(way, seed) for seed in seeds]
            figures = {figure: [it[figure] for it in found] for figure in found[0]}
            rows.append({"loop": loop, "way": name, **figures})
    return rows


def verdicts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    Return the bounds, each with the ratio of the better of two to round robin.

    A ratio is the median of those of the seeds.
    """
    by_loop: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_loop.setdefault(row["loop"], {})[row["way"]] = row
    found = []
    for loop, ways in by_loop.items():
        figure, bound = ("p99_ms", MAX_P99_RATIO) if "load" in loop else ("rate", MIN_RATE_RATIO)
        pairs = zip(ways[OURS][figure], ways[THEIRS][figure], strict=True)
        ratio = middle(one / other for one, other in pairs) or 0.0
        passed = ratio <= bound if figure == "p99_ms" else ratio >= bound
        found.append(
            {
                "loop": loop, "ratio of": figure, "bound": bound, "ratio": ratio,
                "": "pass" if passed else "FAIL",
            }
        )  # fmt: skip
    return found


@click.command()
@click.option("--requests", default=50_000, show_default=True, help="Requests of each loop.")
@click.option("--seeds", default=5, show_default=True, help="Seeds of each loop.")
@json_option
def main(requests: int, seeds: int, file: Path | None) -> None:
    """Compare the ways to choose a worker."""
    stamp = stamped("choosing", {"requests": requests, "services": SERVICES})
    rows = measure(requests, [*range(1, seeds + 1)])
    judged = verdicts(rows)
    click.echo(f"{table(rows)}\n\n{table(judged)}")
    if file is not None:
        write(file, {**stamp, "rows": rows, "verdicts": judged})
    if any(it[""] == "FAIL" for it in judged):
        sys.exit(1)


if __name__ == "__main__":
    main()
