"""The sockets of the name server: server/registry/dns_service.py."""

from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns

from server.lifecycle import StartError
from server.registry.dns_service import (
    MAX_CONNECTIONS,
    MAX_IDLE_SECONDS,
    DNSService,
    Stream,
    Streams,
    dns_service,
)
from server.registry.dns_zone import WorkerZone
from tests.fakes.dns import ALL, ZONE, Workers, fleet, question


class Connection(StringTransport):
    """A connection whose client reads nothing after the first 64 KiB."""

    aborted = False

    def abortConnection(self) -> None:
        """Called to end it."""
        self.aborted = True

    @property
    def written(self) -> bytes:
        """What was written so far."""
        written: bytes = self.value()
        return written

    def write(self, data: bytes) -> None:
        """Keep *data*, and pause the producer when there is much of it."""
        super().write(data)
        if len(self.written) > 65536 and self.producer is not None:
            self.producer.pauseProducing()


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the connections."""
    return Clock()


@pytest.fixture
def streams(clock: Clock) -> Streams:
    """Return the TCP side of a name server with a thousand workers."""
    return Streams(WorkerZone(Workers(fleet(1000)), ZONE), clock)


def connected(streams: Streams) -> tuple[Stream, Connection]:
    """Return a new connection."""
    stream: Stream = streams.buildProtocol(None)
    transport = Connection()
    stream.makeConnection(transport)
    return stream, transport


def receive(stream: Stream, data: bytes, clock: Clock) -> None:
    """Let *data* arrive, and some turns of the reactor pass."""
    stream.dataReceived(data)
    clock.advance(0)


def framed(data: bytes) -> bytes:
    """Return *data* as a message over TCP."""
    return len(data).to_bytes(2, "big") + data


def test_a_connection_takes_several_questions(streams: Streams, clock: Clock) -> None:
    """Also if they arrive in pieces."""
    stream, transport = connected(streams)
    for byte in framed(question("tf.test", dns.SOA)) * 2:
        receive(stream, bytes([byte]), clock)
    half = len(transport.written) // 2
    first, second = transport.written[:half], transport.written[half:]
    assert first == second
    assert int.from_bytes(first[:2], "big") == len(first) - 2 > 12


def test_questions_wait_while_the_client_does_not_read(streams: Streams, clock: Clock) -> None:
    """Two answers of 43 kB are in memory, not a hundred."""
    stream, transport = connected(streams)
    receive(stream, framed(question(ALL)) * 100, clock)
    assert 65536 < len(transport.written) < 2 * 65536
    assert transport.producerState == "paused"
    transport.clear()
    stream.resumeProducing()
    clock.advance(0)
    assert 65536 < len(transport.written) < 2 * 65536


def test_one_question_is_answered_in_a_turn_of_the_reactor(streams: Streams, clock: Clock) -> None:
    """Of all connections; those that are closed before their turn get no answer."""
    (first, one), (second, other), (third, closed) = (connected(streams) for _ in range(3))
    answers: list[int] = []

    def look() -> None:
        written = [one.written, other.written, closed.written]
        answers.append(sum(it.count(b"hostmaster") for it in written))
        if len(answers) < 7:
            clock.callLater(0, look)

    clock.callLater(0, look)
    for stream in (first, second, third):
        stream.dataReceived(framed(question("tf.test", dns.SOA)) * 3)
    third.connectionLost()
    clock.advance(0)
    assert answers == [0, 1, 2, 2, 3, 4, 5]
    assert [it.written.count(b"hostmaster") for it in (one, other, closed)] == [3, 3, 0]


UNREADABLE = {"a message too large": b"\xff\xff", "a message that is no question": framed(b"x")}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_a_connection_that_sends_no_question_is_closed(
    streams: Streams, data: bytes, clock: Clock
) -> None:
    """At once."""
    stream, transport = connected(streams)
    receive(stream, data, clock)
    assert transport.aborted


def test_an_idle_connection_is_closed(streams: Streams, clock: Clock) -> None:
    """Some seconds after the last question."""
    stream, transport = connected(streams)
    clock.advance(MAX_IDLE_SECONDS - 1)
    receive(stream, framed(question("tf.test", dns.SOA)), clock)
    clock.advance(MAX_IDLE_SECONDS - 1)
    assert not transport.aborted
    clock.advance(1)
    assert transport.aborted


def test_the_connections_have_a_limit(streams: Streams) -> None:
    """A further one is closed, until another ends."""
    opened = [connected(streams) for _ in range(MAX_CONNECTIONS)]
    assert connected(streams)[1].aborted
    for stream, _ in opened[:2]:
        stream.connectionLost()
    streams.connections.pop()
    assert not connected(streams)[1].aborted


class OnePort:
    """The ports of a reactor without sockets."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stopped = False

    def getHost(self) -> "OnePort":
        """Return this."""
        return self

    def stopListening(self) -> None:
        """Free the port."""
        self.stopped = True


class Ports(MemoryReactorClock):
    """A reactor where some ports are taken for UDP."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.taken = taken
        self.tcp: list[OnePort] = []

    def listenTCP(self, port: int, *args: Any, **options: Any) -> Any:  # Any: as in Twisted
        """Return the port, or the next one from 5000 on for 0."""
        self.tcp.append(OnePort(port or 5000 + len(self.tcp)))
        return self.tcp[-1]

    def listenUDP(self, port: int, *args: Any, **options: Any) -> Any:  # Any: as in Twisted
        """Return the port, unless it is taken."""
        if port < 5000 + self.taken:
            raise CannotListenError("127.0.0.1", port, OSError("taken"))
        return OnePort(port)


def test_any_port_is_one_that_is_free_for_udp_and_tcp() -> None:
    """The others are given back."""
    reactor = Ports(taken=3)
    service = dns_service(Workers(), ZONE, reactor, ("127.0.0.1", 0))
    assert isinstance(service, DNSService)
    service.privilegedStartService()
    assert service.port == 5003
    assert [it.stopped for it in reactor.tcp] == [True, True, True, False]


UNBOUND = {
    ("::1", 53): "cannot listen for DNS on [::1]:53: taken",
    ("localhost", 5999): "cannot listen for DNS on localhost: it is no IP address",
}


@pytest.mark.parametrize(("place", "reason"), UNBOUND.items(), ids=str)
def test_a_place_that_cannot_be_bound_is_an_error_of_the_start(
    place: tuple[str, int], reason: str
) -> None:
    """In one line."""
    service = dns_service(Workers(), ZONE, Ports(taken=3), place)
    with pytest.raises(StartError) as error:
        service.privilegedStartService()
    assert str(error.value) == reason
