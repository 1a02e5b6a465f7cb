"""
`python -m benchmarks.overhead`: what the batcher costs of each request, beside a Deferred.

The CPU from submit to answer, with a lane that runs nothing, in batches of 32: all of a batch is
submitted while the lane is busy, then the lane ends.  Compared with a Deferred that has three
callbacks, turn about.  No reactor and no model; the time that runs seem to take is made up.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from time import process_time
from typing import Protocol

import click
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from batcher.batcher import Batcher
from batcher.executor import Piece
from batcher.learning.latency import LatencyCurve
from batcher.policy import LotPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.trace import Trace
from benchmarks.kept import Kept, dumped
from benchmarks.machine import this_machine
from benchmarks.overhead_page import ratios

BATCH = 32  #: rows, and the cap
CLIENTS = 2 * BATCH  #: connections that take turns: one batch waits while another runs
TIMEOUT = 0.5  #: seconds that a request has
RUN_TIMEOUT = 30.0  #: seconds after which a run is given up
WARMING = 20  #: batches before the CPU is read

#: Seconds of a run by rows, as a warm-up finds them: 4 ms, and 0.1 ms a row.
MEASURED = {rows: 0.004 + 0.0001 * rows for rows in (1, 2, 4, 8, 16, 32)}

#: Who is compared.
DEFERRED, BARE, SERVED = "a Deferred with three callbacks", "submit", "submit, as the server does"

#: An option that names a file.
FILE = click.Path(dir_okay=False, path_type=Path)


class Work(Protocol):
    """What is measured."""

    def batch(self) -> None:
        """Do it for `BATCH` requests, from submit to answer."""


class Deferreds:
    """What each request is compared with."""

    def batch(self) -> None:
        """Make Deferreds and fire them in the order in which they were made."""
        waiting: list[Deferred[None]] = []
        for _ in range(BATCH):
            deferred: Deferred[None] = Deferred()
            deferred.addCallback(same)
            deferred.addCallback(same)
            deferred.addCallback(same)
            waiting.append(deferred)
        for deferred in waiting:
            deferred.callback(None)


def same(value: None) -> None:
    """Return *value*."""
    return value


class HeldLane:
    """A lane that runs nothing, until it is told to end."""

    seconds: float | None = None

    def __init__(self) -> None:
        self._running: Deferred[Sequence[None]] = Deferred()
        self._results: list[None] = []

    def run(self, pieces: Sequence[Piece[None]]) -> Deferred[Sequence[None]]:
        """Begin a run."""
        self._results = [None] * len(pieces)
        self._running = Deferred()
        return self._running

    def end(self) -> None:
        """End the run under way."""
        self._running.callback(self._results)


class Submits:
    """Requests for a batcher whose lane is always busy."""

    def __init__(self, *, served: bool) -> None:
        """*served* requests have all that the server gives them, a new trace each."""
        self.clock = Clock()
        self.lane = HeldLane()
        self.batcher: Batcher[None, None] = Batcher(
            self.clock, [self.lane], LotPolicy(), join=lambda _: None, run_timeout=RUN_TIMEOUT
        )
        self._queue: Queue[None, None] = Queue(LatencyCurve(MEASURED), BATCH, 4 * BATCH)
        self._sources: Iterator[object] = cycle([object() for _ in range(CLIENTS)])
        self._submit = self._served if served else self._bare
        self._submit()  # it is run alone, and the others wait for it

    def batch(self) -> None:
        """Submit as many as ride together, and then end the run that is under way."""
        for _ in range(BATCH):
            self._submit()
        self.clock.advance(MEASURED[BATCH])
        self.lane.end()

    def _bare(self) -> None:
        self.batcher.submit(None, 1, self._queue)

    def _served(self) -> None:
        self.batcher.submit(
            None,
            1,
            self._queue,
            deadline=self.clock.seconds() + TIMEOUT,
            priority=Priority.NORMAL,
            source=next(self._sources),
            trace=Trace(),
        )


WORKS: dict[str, Callable[[], Work]] = {
    DEFERRED: Deferreds,
    BARE: partial(Submits, served=False),
    SERVED: partial(Submits, served=True),
}


def microseconds(work: Work, batches: int, cpu: Callable[[], float] = process_time) -> float:
    """Return the CPU of each request in so many *batches* of *work*, in microseconds."""
    for _ in range(WARMING):
        work.batch()
    gc.collect()  # what others left is none of its cost
    before = cpu()
    for _ in range(batches):
        work.batch()
    return (cpu() - before) / (batches * BATCH) * 1e6


def measure(rounds: int, batches: int, cpu: Callable[[], float] = process_time) -> Kept:
    """Return the microseconds of each request by work, once a round."""
    costs: dict[str, list[float]] = {name: [] for name in WORKS}
    for _ in range(rounds):
        for name, work in WORKS.items():
            costs[name].append(microseconds(work(), batches, cpu))
    return {
        "what": "overhead",
        "machine": this_machine(),
        "batch": BATCH,
        "requests": batches * BATCH,
        "microseconds": {name: [round(each, 3) for each in taken] for name, taken in costs.items()},
    }


def table(kept: Kept) -> str:
    """Return what was measured as lines: medians of the rounds, and how far apart they are."""
    lines = [f"{'':34}{'us':>8}{'ratio':>8}{'least':>8}{'most':>8}"]
    for name, costs in kept["microseconds"].items():
        each = ratios(kept, name)
        figures = (median(costs), median(each), min(each), max(each))
        lines.append(f"{name:34}" + "".join(f"{figure:8.2f}" for figure in figures))
    return "\n".join(lines)


@click.command()
@click.option("--rounds", default=25, show_default=True, help="How often each has its turn.")
@click.option("--batches", default=100, show_default=True, help="Batches of 32 in each turn.")
@click.option("--json", "json_file", type=FILE, help="A file for the numbers of each round.")
def main(rounds: int, batches: int, json_file: Path | None) -> None:
    """Measure what the batcher costs of each request, beside a Deferred with three callbacks."""
    numbers = measure(rounds, batches)
    click.echo(table(numbers))
    if json_file is not None:
        json_file.write_text(dumped(numbers), encoding="utf-8")


if __name__ == "__main__":
    main()
