"""
Servers without sockets for the load test, and makers of what it hands around.

What a real connection does later happens here at the next turn of a `Clock`, never inside a call.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from scripts.load.exchange import Exchange
from scripts.load.record import Record
from scripts.load.summary import ClientStats, Summary, summarise

T = TypeVar("T")


def plain(body: bytes = b"ok", status: str = "200 OK", head: str = "") -> bytes:
    """Return an answer; *head* are more lines, each ended by CR LF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


class FakeTransport:
    """A connection, seen from the server: what was sent on it, and what became of it."""

    def __init__(self, clock: Clock, protocol: IProtocol) -> None:
        alsoProvides(self, ITCPTransport)
        self.connected = True
        self.no_delay = False
        self.ending = ""  #: "closed" or "aborted" once the client ends it
        self.requests: list[bytes] = []
        self._protocol = protocol
        self._clock = clock

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Note it."""
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        """Take a request."""
        if not self.ending:
            self.requests.append(data)

    def loseConnection(self) -> None:
        """Close soon."""
        self._end("closed", ConnectionDone())

    def abortConnection(self) -> None:
        """Cut off soon."""
        self._end("aborted", ConnectionAborted())

    def _end(self, ending: str, error: Exception) -> None:
        if not self.ending:
            self._clock.callLater(0, self.hang_up, error)
        self.ending = ending

    def say(self, *pieces: bytes) -> None:
        """Have the client read *pieces*, one after the other, as long as it reads."""
        for piece in pieces:
            if not self.ending:
                self._protocol.dataReceived(piece)

    def hang_up(self, error: Exception | None = None) -> None:
        """Be gone."""
        if self.connected:
            self.connected = False
            self._protocol.connectionLost(Failure(error or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Where connections to a server are asked for; each is let in or turned away by hand."""

    def __init__(self, clock: Clock) -> None:
        self.transports: list[FakeTransport] = []  #: all that were let in
        self.waiting: list[tuple[IProtocolFactory, Deferred[IProtocol]]] = []
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Let them wait."""
        deferred: Deferred[IProtocol] = Deferred()
        self.waiting.append((protocolFactory, deferred))
        return deferred

    def accept(self) -> FakeTransport:
        """Accept the connection that has waited for longest."""
        factory, deferred = self.waiting.pop(0)
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]  # no address is used
        assert protocol is not None
        transport = FakeTransport(self._clock, protocol)
        self.transports.append(transport)
        protocol.makeConnection(cast("Any", transport))
        deferred.callback(protocol)
        return transport

    def refuse(self, error: Exception) -> None:
        """Refuse the connection that has waited for longest."""
        _, deferred = self.waiting.pop(0)
        deferred.errback(Failure(error))


class FakeSender:
    """A `Sender` that keeps what it was given, until it is told how each one ends."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[Exchange] = []
        self.open: list[Exchange] = []
        self._clock = clock

    def send(self, exchange: Exchange) -> None:
        """Keep it."""
        self.sent.append(exchange)
        self.open.append(exchange)

    def finish(self, status: int = 200, detail: str = "") -> None:
        """End the oldest now."""
        exchange = self.open.pop(0)
        exchange.status, exchange.detail = status, detail
        exchange.ended = self._clock.seconds()
        exchange.finish(exchange)


class ClockTimer:
    """A `Waker` by the timers of a `Clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have *call* called then, and what was set before no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), call)


def exchange(
    took: float = 0.1,
    status: int = 200,
    *,
    due: float = 0.0,
    late: float = 0.0,
    timing: bytes = b"",
    detail: str = "",
) -> Exchange:
    """Return one that has finished *took* seconds after it was *due*."""
    made = Exchange(b"", due, due + late, lambda _: None)
    made.ended, made.status, made.timing, made.detail = due + took, status, timing, detail
    return made


def recorded(*exchanges: Exchange, start: float = 0.0, warmup: float = 0.0) -> Record:
    """Return what is known of *exchanges*."""
    record = Record(start, start + warmup)
    for each in exchanges:
        record.add(each)
    return record


#: Nothing about it calls for a warning.
CLIENT = ClientStats(
    seconds=10.0,
    closed=False,
    cores=0.1,
    starved=0.0,
    connections=1,
    waited=0,
    limit=1000,
    retried=0,
    slo=0.5,
)


def figures(exchanges: Sequence[Exchange] = (), **changes: object) -> Summary:
    """Return the figures of *exchanges*, with *changes* made to them."""
    return replace(summarise(recorded(*exchanges), CLIENT), **changes)  # type: ignore[arg-type]


def run(steps: Coroutine[Any, Any, T]) -> T:
    """Return what *steps* return; they must not have to wait for anything."""
    try:
        steps.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("it waits")


def chance(seed: int) -> Random:
    """Return a source of what is random in a load."""
    return Random(seed)  # noqa: S311 - no secret
