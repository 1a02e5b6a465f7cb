"""
A server without sockets for the load test, and helpers that build its data.

An effect that a real connection has later takes place at the next turn of a `Clock`, never inside a
call.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
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
    """Return an HTTP answer; *head* holds further header lines, each ended by CR LF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


class FakeTransport:
    """The transport of a client's connection; a test uses it as the server."""

    def __init__(self, clock: Clock, protocol: IProtocol) -> None:
        alsoProvides(self, ITCPTransport)
        self.connected = True
        self.no_delay = False
        self.ending = ""  #: "closed" or "aborted" when the client has ended it
        self.requests: list[bytes] = []
        self._protocol = protocol
        self._clock = clock

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Record the call."""
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        """Record a request."""
        if not self.ending:
            self.requests.append(data)

    def loseConnection(self) -> None:
        """Close at the next turn."""
        self._end_soon("closed", ConnectionDone())

    def abortConnection(self) -> None:
        """Abort at the next turn."""
        self._end_soon("aborted", ConnectionAborted())

    def _end_soon(self, ending: str, error: Exception) -> None:
        if not self.ending:
            self._clock.callLater(0, self.hang_up, error)
        self.ending = ending

    def send(self, *pieces: bytes) -> None:
        """Deliver *pieces* to the client, one after the other, until it ends the connection."""
        for piece in pieces:
            if not self.ending:
                self._protocol.dataReceived(piece)

    def hang_up(self, error: Exception | None = None) -> None:
        """Lose the connection, for the reason *error*."""
        if self.connected:
            self.connected = False
            self._protocol.connectionLost(Failure(error or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """The endpoint of a server; a test accepts or refuses each connection."""

    def __init__(self, clock: Clock) -> None:
        self.transports: list[FakeTransport] = []  #: of the accepted connections
        self.waiting: list[tuple[IProtocolFactory, Deferred[IProtocol]]] = []
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Let the connection wait."""
        deferred: Deferred[IProtocol] = Deferred()
        self.waiting.append((protocolFactory, deferred))
        return deferred

    def accept(self) -> FakeTransport:
        """Accept the connection that has waited longest."""
        factory, deferred = self.waiting.pop(0)
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]  # no address is used
        assert protocol is not None
        transport = FakeTransport(self._clock, protocol)
        self.transports.append(transport)
        protocol.makeConnection(cast("Any", transport))
        deferred.callback(protocol)
        return transport

    def refuse(self, error: Exception) -> None:
        """Refuse the connection that has waited longest."""
        _, deferred = self.waiting.pop(0)
        deferred.errback(Failure(error))


class FakeSender:
    """A `Sender` whose exchanges the test finishes."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[Exchange] = []
        self.open: list[Exchange] = []
        self._clock = clock

    def send(self, exchange: Exchange) -> None:
        """Keep *exchange*."""
        self.sent.append(exchange)
        self.open.append(exchange)

    def finish(self, status: int = 200, detail: str = "") -> None:
        """Finish the oldest exchange now."""
        exchange = self.open.pop(0)
        exchange.status, exchange.detail = status, detail
        exchange.ended = self._clock.seconds()
        exchange.finish(exchange)


def exchange(
    took: float = 0.1,
    status: int = 200,
    *,
    due: float = 0.0,
    late: float = 0.0,
    timing: bytes = b"",
    detail: str = "",
) -> Exchange:
    """Return an exchange, sent *late* seconds and finished *took* seconds after it was *due*."""
    made = Exchange(b"", due, due + late, lambda _: None)
    made.ended, made.status, made.timing, made.detail = due + took, status, timing, detail
    return made


def recorded(*exchanges: Exchange, start: float = 0.0, warmup: float = 0.0) -> Record:
    """Return a record of *exchanges*."""
    record = Record(start, start + warmup)
    for each in exchanges:
        record.add(each)
    return record


#: A client that causes no warning.
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
    """Return the figures of *exchanges*, with *changes*."""
    return replace(summarise(recorded(*exchanges), CLIENT), **changes)  # type: ignore[arg-type]


def run(steps: Coroutine[Any, Any, T]) -> T:
    """Return the result of *steps*, which must never wait."""
    try:
        steps.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("the coroutine waits")


def chance(seed: int) -> Random:
    """Return a random generator with this *seed*."""
    return Random(seed)  # noqa: S311 - no secret
