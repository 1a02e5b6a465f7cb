"""
`python -m benchmarks.shares`: two models on one lane, one of them flooded.

Both models sleep: a run takes a known time and no core.  The slow model is sent three times the
rows that the lane could run if it ran nothing else; the fast model is asked by clients that each
wait for their answer.  The shares of the lane's time must be as the weights of the models, although
speeds and loads differ.  The requests are made without HTTP, in the process of the lane.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater, react

from batcher.queue import Queue
from batcher.share import Account
from batcher.trace import Run
from benchmarks.kept import json_option, stamped, write
from benchmarks.sleeping_model import sleeping_loader
from benchmarks.tables import table
from model.backends.null import LENGTHS
from model.execution.decode_pool import DecodePool
from model.execution.recorder import Recorder
from model.signature import STRING, Feed
from scripts.simulation.service import Service
from server.clock import MonotonicTime
from server.inference import Inference
from server.model_host import ModelHost, lane_pool, stop_serving
from server.model_loading import Loader
from server.settings.table import Settings

CAP = 16  #: the largest batch of both models, in rows
SIZES = (1, 2, 4, 8, 16)
SLOW = Service("slow", tuple(0.018 * (rows > 0) + 0.002 * rows for rows in range(CAP + 1)), SIZES)
FAST = Service("fast", tuple(seconds / 10 for seconds in SLOW.seconds), SIZES)

FLOOD = 3.0  #: the rate of rows for the slow model, relative to its best rate on the whole lane
CLIENTS = 64  #: of the fast model
SETTLING = 1.0  #: seconds of load before anything counts
TICK = 0.01  #: seconds between two bursts of the flood

#: The weights of the slow and of the fast model, in each measurement.
WEIGHTS = ((1.0, 1.0), (1.0, 3.0), (3.0, 1.0))


class LaneTime(Recorder):
    """A recorder that also adds up how long the runs of each share have occupied a lane."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)  #: by the name of the share
        self.longest: defaultdict[str, float] = defaultdict(float)  #: seconds of one run, likewise

    def ended(self, queue: Queue[Any, Any], run: Run, error: BaseException | None) -> None:
        """Add the seconds of *run*, from its launch to its end."""
        if queue.share is not None and not queue.in_background:
            name, seconds = queue.share.name, run.seconds or 0.0
            self.seconds[name] += seconds
            self.longest[name] = max(self.longest[name], seconds)


def named_loader(service: Service) -> Loader:
    """Return the loader of a model that sleeps as *service* does, and has its name."""
    load = sleeping_loader(service)
    return lambda settings, on_progress: replace(load(settings, on_progress), name=service.name)


class Flood:
    """Sends `FLOOD` times the rows that the lane could run to a model, until it is stopped."""

    def __init__(self, slow: Inference, clock: MonotonicTime) -> None:
        self._slow, self._clock = slow, clock
        self._bursts = LoopingCall(self._burst)
        self._bursts.clock = clock
        self._sent = 0
        self._began = clock.seconds()

    def start(self) -> None:
        """Begin."""
        self._bursts.start(TICK)

    def stop(self) -> None:
        """Send no further request."""
        self._bursts.stop()

    def _burst(self) -> None:
        due = int((self._clock.seconds() - self._began) * FLOOD * SLOW.best_rate)
        for _ in range(due - self._sent):
            # The queue is full most of the time: refusals are expected.
            self._slow.submit(row()).addErrback(lambda _: None)
        self._sent = due


class Clients:
    """The clients of the fast model: each sends its next request when the last is answered."""

    def __init__(self, fast: Inference) -> None:
        self.answered = 0  #: rows
        self._fast = fast
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        for _ in range(CLIENTS):
            self._ask()

    def stop(self) -> None:
        """Send no further request."""
        self._stopped = True

    def _ask(self) -> None:
        if not self._stopped:
            self._fast.submit(row()).addCallbacks(self._answered, lambda _: None)

    def _answered(self, _: object) -> None:
        self.answered += 1
        self._ask()


def row() -> Feed:
    """Return a feed of one row."""
    return Feed(LENGTHS, (np.array([b"x"], STRING),))


@dataclass(frozen=True, slots=True)
class Shares:
    """The lane time of both models in one measurement."""

    slow: float  #: seconds for which its runs occupied the lane
    fast: float
    answered: int  #: requests of the fast model

    def ratio(self, weights: tuple[float, float]) -> float:
        """Return the slow model's share of the lane time, relative to its weight; 1.0 is exact."""
        return self.slow / (self.slow + self.fast) * sum(weights) / weights[0]


@asynccontextmanager
async def serving(
    reactor: Any, weights: Iterable[float]
) -> AsyncIterator[tuple[Inference, Inference, LaneTime]]:
    """
    Context manager: serve the slow and the fast model on one lane; yield them and its recorder.

    The models have these *weights*.
    """
    settings = Settings(lanes=1, max_queue_bytes=16_384)
    clock = MonotonicTime(reactor)
    pool = DecodePool(reactor.callFromThread, 1)
    lanes = lane_pool(settings, clock, reactor.callFromThread)
    lanes.recorder = spent = LaneTime()
    hosts = [
        ModelHost(
            settings,
            clock=clock,
            lanes=lanes,
            pool=pool,
            on_progress=lambda _: None,
            load=named_loader(service),
        )
        for service in (SLOW, FAST)
    ]
    pool.start()
    try:
        slow, fast = [await host.start() for host in hosts]
        for host, weight in zip(hosts, weights, strict=True):
            host.serve(Account(weight))
        yield slow, fast, spent
    finally:
        lanes.abort()
        await stop_serving(hosts, lanes, pool)


async def measure(reactor: Any, weights: Iterable[float], seconds: float) -> Shares:
    """Serve both models on one lane with these *weights*, and load them for *seconds*."""
    clock = MonotonicTime(reactor)
    async with serving(reactor, weights) as (slow, fast, spent):
        names = [inference.model.full_name for inference in (slow, fast)]
        flood, clients = Flood(slow, clock), Clients(fast)
        flood.start()
        clients.start()
        await deferLater(clock, SETTLING, lambda: None)
        before, answered = spent.seconds.copy(), clients.answered
        await deferLater(clock, seconds, lambda: None)
        busy = [spent.seconds[name] - before[name] for name in names]
        answered = clients.answered - answered
        flood.stop()
        clients.stop()
    return Shares(busy[0], busy[1], answered)


@click.command()
@click.option("--seconds", default=8.0, show_default=True, help="Of each load.")
@json_option
def main(seconds: float, file: Path | None) -> None:
    """Measure the shares of the lane's time of two models, for three pairs of weights."""

    async def run(reactor: Any) -> None:
        rows = []
        for weights in WEIGHTS:
            shares = await measure(reactor, weights, seconds)
            rows.append(
                {
                    "weights": f"{weights[0]:g}:{weights[1]:g}",
                    "slow_s": round(shares.slow, 3),
                    "fast_s": round(shares.fast, 3),
                    "slow_share_to_weight": round(shares.ratio(weights), 4),
                    "fast_per_s": round(shares.answered / seconds, 1),
                }
            )
        click.echo(table(rows))
        if file is not None:
            write(file, stamped("shares", {"rows": rows}))

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main()
