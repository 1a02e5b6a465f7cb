"""
Put one load on one server and return what it showed.

Joins the parts: pool, drive, record, summary.  Reactor thread only.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import LoopingCall

from scripts.load.alarm import Alarm
from scripts.load.drive import ClosedDrive, Drive, OpenDrive
from scripts.load.own_cpu import CPU, own_cpu
from scripts.load.pool import Pool
from scripts.load.record import Record
from scripts.load.summary import Client, Summary, summed_up
from server.clock import MonotonicTime

#: Seconds between two looks at what has waited for too long, and at the progress.
TICK = 0.25

#: Seconds for which a load that was stopped waits for the answers that are under way.
LINGER = 2.0


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests that are sent when they are due, whatever the server does."""

    name: str  #: in words
    arrivals: Callable[[float, random.Random], Iterator[float]]  #: of so many seconds
    seconds: float


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many clients that each wait for their answer."""

    clients: int
    seconds: float

    @property
    def name(self) -> str:
        """The load in words."""
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{clients}, each waiting for its answer"


Load = OpenLoop | ClosedLoop


@dataclass(frozen=True, slots=True)
class Terms:
    """What is the same for every load of one command."""

    warmup: float  #: seconds before anything counts
    connections: int  #: at most
    timeout: float  #: seconds
    slo: float  #: seconds
    seed: int


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test, and the requests that go to it in turn."""

    name: str
    endpoint: IStreamClientEndpoint
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has come."""

    server: str  #: its name
    load: Load
    elapsed: float  #: seconds
    seconds: float  #: how long requests are sent in all
    in_flight: int
    record: Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load showed: everything, and the figures."""

    record: Record
    summary: Summary


class Measurement:
    """One load on one server."""

    def __init__(
        self,
        reactor: Any,  # Any: no type says that it has timers and descriptors at once
        server: Server,
        load: Load,
        terms: Terms,
        tell: Callable[[Progress], object],
    ) -> None:
        """*tell* hears of the progress every `TICK` seconds."""
        self._reactor = reactor
        self._clock = MonotonicTime(reactor)
        self._load = load
        self._terms = terms
        self._tell = tell
        self._name = server.name
        self._requests = cycle(server.requests)
        self._pool = Pool(
            server.endpoint,
            limit=terms.connections,
            timeout=terms.timeout,
            seconds=self._clock.seconds,
        )
        self._drive: Drive | None = None
        self._giving_up: IDelayedCall | None = None
        self._seconds = load.seconds
        self._cpu = CPU()
        self._elapsed = 0.0  # how long that took; 0 until it was looked at

    async def run(self) -> Outcome:
        """Return what the load showed, once all that was sent has finished."""
        start = self._clock.seconds()
        record = Record(start, start + self._terms.warmup)
        alarm = Alarm(self._reactor)
        before = own_cpu()
        ticking = LoopingCall(self._tick, record, before)
        ticking.clock = self._clock
        try:
            self._drive = self._start(record, alarm)
            ticking.start(TICK, now=False).addErrback(self._drive.fail)
            await self._drive.done
            if not self._elapsed:
                self._look(record, before)
        finally:
            if ticking.running:
                ticking.stop()
            if self._giving_up is not None and self._giving_up.active():
                self._giving_up.cancel()
            alarm.close()
            self._pool.close()
        return Outcome(record, summed_up(record, self._client()))

    def stop(self) -> None:
        """Send no more; the summary is of what was sent and has finished `LINGER` seconds later."""
        if self._drive is not None and self._drive.sending:
            elapsed = self._clock.seconds() - self._drive.record.start
            self._seconds = max(TICK, elapsed - self._terms.warmup)
            self._drive.stop()
        if self._drive is not None and self._giving_up is None:
            self._giving_up = self._clock.callLater(LINGER, self._drive.give_up)

    def _start(self, record: Record, alarm: Alarm) -> Drive:
        load, seconds = self._load, self._load.seconds + self._terms.warmup
        common = (self._clock, self._pool, self._requests, record)
        if isinstance(load, ClosedLoop):
            return ClosedDrive(*common, clients=load.clients, seconds=seconds)
        arrivals = load.arrivals(seconds, random.Random(self._terms.seed))  # noqa: S311 - no secret
        return OpenDrive(*common, arrivals=arrivals, waker=alarm)

    def _tick(self, record: Record, before: CPU) -> None:
        self._pool.expire()
        if self._drive is not None and self._drive.sending:
            self._look(record, before)
        elapsed = self._clock.seconds() - record.start
        seconds = self._terms.warmup + self._load.seconds
        in_flight = self._pool.in_flight
        self._tell(Progress(self._name, self._load, elapsed, seconds, in_flight, record))

    def _look(self, record: Record, before: CPU) -> None:
        """See what the client itself has used."""
        self._cpu = own_cpu().since(before)
        self._elapsed = self._clock.seconds() - record.start

    def _client(self) -> Client:
        return Client(
            seconds=self._seconds,
            closed=isinstance(self._load, ClosedLoop),
            cores=self._cpu.used / self._elapsed,
            starved=self._cpu.waited / self._elapsed,
            connections=self._pool.opened,
            waited=self._pool.waited,
            limit=self._terms.connections,
            retried=self._pool.retried,
            slo=self._terms.slo,
        )
