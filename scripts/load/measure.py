"""
Apply one load to one server and return its record and summary.

Connects the parts: pool, driver, record, summary.  Reactor thread only.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import LoopingCall

from scripts.load.drivers import ClosedLoopDriver, LoadDriver, OpenLoopDriver
from scripts.load.pool import ConnectionPool
from scripts.load.precise_timer import PreciseTimer
from scripts.load.record import Record
from scripts.load.summary import ClientStats, Summary, summarise
from scripts.load.thread_cpu import ThreadCPU, thread_cpu
from server.clock import MonotonicTime

#: Seconds between two checks for timed-out requests, and between two progress reports.
TICK_SECONDS = 0.25

#: How long a stopped load waits for the answers to requests in flight.
LINGER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """A load whose requests are sent when they are due, whatever the server does."""

    name: str  #: for titles
    arrivals: Callable[[float, random.Random], Iterator[float]]  #: given the length in seconds
    seconds: float


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A load of clients that each send their next request when their last one is answered."""

    clients: int
    seconds: float

    @property
    def name(self) -> str:
        """The load in words, for titles."""
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{clients}, each waiting for its answer"


Load = OpenLoop | ClosedLoop


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """The settings that all loads of one command share."""

    warmup: float  #: seconds at the start that count in no figure
    connections: int  #: the most at a time
    timeout: float  #: seconds from when a request is due
    slo: float  #: seconds within which an answer is in time
    seed: int


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test, and the requests that are sent to it one after the other, repeatedly."""

    name: str
    endpoint: IStreamClientEndpoint
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a running load, for the progress line."""

    server: str  #: the name of the server
    load: Load
    elapsed: float  #: seconds since the load began
    seconds: float  #: how long requests are sent, warm-up included
    in_flight: int
    record: Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record of a load, and its figures."""

    record: Record
    summary: Summary


class Measurement:
    """Applies one load to one server, once."""

    def __init__(
        self,
        reactor: Any,  # Any: no type declares both timers and descriptors
        server: Server,
        load: Load,
        settings: LoadSettings,
        on_progress: Callable[[Progress], object],
    ) -> None:
        """*on_progress* is called every `TICK_SECONDS` seconds while the load runs."""
        self._reactor = reactor
        self._clock = MonotonicTime(reactor)
        self._load = load
        self._settings = settings
        self._on_progress = on_progress
        self._name = server.name
        self._requests = cycle(server.requests)
        self._pool = ConnectionPool(
            server.endpoint,
            limit=settings.connections,
            timeout=settings.timeout,
            seconds=self._clock.seconds,
        )
        self._driver: LoadDriver | None = None
        self._linger_timer: IDelayedCall | None = None
        self._seconds = load.seconds
        self._cpu = ThreadCPU()
        self._elapsed = 0.0  # the seconds that _cpu covers; 0 until it is measured

    async def run(self) -> Outcome:
        """
        Apply the load; return its outcome when all requests have finished, or soon after `stop`.
        """
        start = self._clock.seconds()
        record = Record(start, start + self._settings.warmup)
        timer = PreciseTimer(self._reactor)
        before = thread_cpu()
        ticking = LoopingCall(self._tick, record, before)
        ticking.clock = self._clock
        try:
            self._driver = self._start(record, timer)
            ticking.start(TICK_SECONDS, now=False).addErrback(self._driver.fail)
            await self._driver.done
            if not self._elapsed:
                self._sample_cpu(record, before)
        finally:
            if ticking.running:
                ticking.stop()
            if self._linger_timer is not None and self._linger_timer.active():
                self._linger_timer.cancel()
            timer.close()
            self._pool.close()
        return Outcome(record, summarise(record, self._client_stats()))

    def stop(self) -> None:
        """Send no more requests; those that finish within `LINGER_SECONDS` seconds still count."""
        if self._driver is not None and self._driver.sending:
            elapsed = self._clock.seconds() - self._driver.record.start
            self._seconds = max(TICK_SECONDS, elapsed - self._settings.warmup)
            self._driver.stop()
        if self._driver is not None and self._linger_timer is None:
            self._linger_timer = self._clock.callLater(LINGER_SECONDS, self._driver.give_up)

    def _start(self, record: Record, timer: PreciseTimer) -> LoadDriver:
        load, seconds = self._load, self._load.seconds + self._settings.warmup
        common = (self._clock, self._pool, self._requests, record)
        if isinstance(load, ClosedLoop):
            return ClosedLoopDriver(*common, clients=load.clients, seconds=seconds)
        arrivals = load.arrivals(seconds, random.Random(self._settings.seed))  # noqa: S311 - no secret
        return OpenLoopDriver(*common, arrivals=arrivals, timer=timer)

    def _tick(self, record: Record, before: ThreadCPU) -> None:
        self._pool.expire()
        if self._driver is not None and self._driver.sending:
            self._sample_cpu(record, before)
        elapsed = self._clock.seconds() - record.start
        seconds = self._settings.warmup + self._load.seconds
        in_flight = self._pool.in_flight
        self._on_progress(Progress(self._name, self._load, elapsed, seconds, in_flight, record))

    def _sample_cpu(self, record: Record, before: ThreadCPU) -> None:
        """
        Measure the CPU time that the load test has used, and the seconds, since the load began.
        """
        self._cpu = thread_cpu().since(before)
        self._elapsed = self._clock.seconds() - record.start

    def _client_stats(self) -> ClientStats:
        return ClientStats(
            seconds=self._seconds,
            closed=isinstance(self._load, ClosedLoop),
            cores=self._cpu.used / self._elapsed,
            starved=self._cpu.waited / self._elapsed,
            connections=self._pool.opened,
            waited=self._pool.waited,
            limit=self._settings.connections,
            retried=self._pool.retried,
            slo=self._settings.slo,
        )
