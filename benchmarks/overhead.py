"""
`python -m benchmarks.overhead`: the CPU that the batcher takes for each request.

The CPU of a request is measured from submit to answer, in batches of 32, with a lane that computes
nothing: all requests of a batch are submitted while the lane is busy, then the lane completes its
run.  For comparison, the CPU of a Deferred that has three callbacks is measured in the same rounds.
There is no reactor and no model, and the time of a run is simulated.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
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
from benchmarks.kept import Kept, json_option, stamped, write
from benchmarks.tables import table
from model.execution.recorder import Recorder

BATCH = 32  #: rows, and the cap
CLIENTS = 2 * BATCH  #: connections: one batch waits while another one runs
TIMEOUT = 0.5  #: seconds from submit to the deadline of a request
RUN_TIMEOUT = 30.0  #: seconds after which the batcher gives up a run
WARMING = 20  #: batches before the measured ones

#: Seconds of a run by rows, as a warm-up measures them: 4 ms, and 0.1 ms a row.
MEASURED = {rows: 0.004 + 0.0001 * rows for rows in (1, 2, 4, 8, 16, 32)}

#: The names of the ways to process requests that are compared.
DEFERRED, BARE, SERVED = "a Deferred with three callbacks", "submit", "submit, as the server does"


class Work(Protocol):
    """A way to process requests; the benchmark compares the CPU of several."""

    def batch(self) -> None:
        """Process `BATCH` requests, from submit to answer."""


class Deferreds:
    """Processes a request as a Deferred with three callbacks."""

    def batch(self) -> None:
        """Make `BATCH` Deferreds, then fire them in the same order."""
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
    """A lane that computes nothing, and completes a run when `end` is called."""

    seconds: float | None = None

    def __init__(self) -> None:
        self._running: Deferred[Sequence[None]] = Deferred()
        self._results: list[None] = []

    def run(self, pieces: Sequence[Piece[None]]) -> Deferred[Sequence[None]]:
        """Start a run; the Deferred fires when `end` is called."""
        self._results = [None] * len(pieces)
        self._running = Deferred()
        return self._running

    def end(self) -> None:
        """Complete the run that was started last."""
        self._running.callback(self._results)


class Submits:
    """Submits requests to a batcher whose lane is always busy."""

    def __init__(self, *, served: bool) -> None:
        """
        With *served*, submit each request with the server's arguments and a new trace.

        Else submit it with the defaults.
        """
        self.clock = Clock()
        self.lane = HeldLane()
        self.recorder = Recorder()
        self.batcher: Batcher[None, None] = Batcher(
            self.clock,
            [self.lane],
            LotPolicy(),
            join=lambda _: None,
            observer=self.recorder,
            run_timeout=RUN_TIMEOUT,
        )
        self._queue: Queue[None, None] = Queue(LatencyCurve(MEASURED), BATCH, 4 * BATCH)
        self._sources: Iterator[object] = cycle([object() for _ in range(CLIENTS)])
        self._submit = self._served if served else self._bare
        self._submit()  # this request runs alone, and the others wait for it

    def batch(self) -> None:
        """Submit the requests of one batch, then complete the run of the previous batch."""
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
    """
    Return the CPU time of one request in microseconds: the mean over *batches* batches of *work*.

    *cpu* returns the CPU seconds that the process has used so far.
    """
    for _ in range(WARMING):
        work.batch()
    gc.collect()  # earlier garbage is no cost of this work
    before = cpu()
    for _ in range(batches):
        work.batch()
    return (cpu() - before) / (batches * BATCH) * 1e6


def measure(rounds: int, batches: int, cpu: Callable[[], float] = process_time) -> Kept:
    """
    Measure each of `WORKS` in each of *rounds* rounds, with *batches* batches.

    Return `batch`, the requests of a batch; `requests`, those of each of `WORKS` in a round; and
    `microseconds`: for each of `WORKS`, a list with the CPU time of a request in each round.
    """
    costs: dict[str, list[float]] = {name: [] for name in WORKS}
    for _ in range(rounds):
        for name, work in WORKS.items():
            costs[name].append(microseconds(work(), batches, cpu))
    return {
        "batch": BATCH,
        "requests": batches * BATCH,
        "microseconds": {name: [round(each, 3) for each in taken] for name, taken in costs.items()},
    }


def ratios(kept: Kept, name: str) -> list[float]:
    """
    Return, for each round, the cost of *name* divided by that of the Deferred with three callbacks.
    """
    costs: dict[str, list[float]] = kept["microseconds"]
    first = next(iter(costs.values()))
    return [cost / base for cost, base in zip(costs[name], first, strict=True)]


def report(kept: Kept) -> str:
    """
    Return a table of the costs and ratios in *kept*, each the median over the rounds.

    A ratio is that of two costs of the same round.
    """
    rows = []
    for name, costs in kept["microseconds"].items():
        each = ratios(kept, name)
        limits = {"min": min(each), "max": max(each)}
        rows.append({"request": name, "cpu_us": costs, "ratio": each, **limits})
    return table(rows)


@click.command()
@click.option("--rounds", default=25, show_default=True, help="Rounds; each measures all ways.")
@click.option(
    "--batches",
    default=100,
    show_default=True,
    help="Batches of 32 requests for each way, a round.",
)
@json_option
def main(rounds: int, batches: int, file: Path | None) -> None:
    """Measure the CPU that the batcher takes for a request, and that of a Deferred."""
    figures = measure(rounds, batches)
    click.echo(report(figures))
    if file is not None:
        write(file, stamped("overhead", figures))


if __name__ == "__main__":
    main()
