"""Connections of a protocol that is not twisted.web's: server/http/connections.py."""

from typing import Any

import pytest
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from server.http.access import Access
from server.http.connections import (
    ABORT_SECONDS,
    LINGER_SECONDS,
    MAX_DISCARDED_BODY_BYTES,
    Connection,
    Connections,
)
from server.http.error_statuses import HTTPError, error_response
from server.http.limits import BodyLimits
from server.http.messages import HTTPResponse
from tests.fakes.http import PEER, HalfCloseable, PlainTransport, SlowTransport, read_answers
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")

TIMEOUT = 8.0
KIB = 1024


class LineProtocol(Protocol):
    """
    Each line is a request, which `answer` answers with as many bytes as it names.

    ``bad`` is refused early; ``body N`` is refused early as well, before its body of N bytes.
    """

    transport: Any  # Any: as `Receiver` has it

    def __init__(self, connections: Connections) -> None:
        self.connection: Connection
        self.line: bytes | None = None
        self.refused_body = 0  # bytes of it that are still to be discarded
        self._connections = connections
        self._buffer = b""

    def connectionMade(self) -> None:
        """Called when the connection is made."""
        self.connection = self._connections.accept(self)
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        self.drop_requests()
        self.connection.lost()

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes."""
        if not self.connection.accepts_data:
            return
        if not self._buffer and self.line is None:
            self.connection.request_begins()
        self._buffer += data
        self._parse()

    def _parse(self) -> None:
        self._discard()
        while b"\n" in self._buffer and self.line is None and not self.connection.transport_full:
            self.line, _, self._buffer = self._buffer.partition(b"\n")
            if self.line == b"bad":
                self.refuse(HTTPError(400, "bad"))
            elif self.line.startswith(b"body "):
                self._refuse_body(int(self.line[5:]))
            else:
                self.connection.request_received()

    def _refuse_body(self, length: int) -> None:
        if self.connection.can_discard(length):
            self.connection.answer_early(HTTPResponse(429, b""), "the-id")
            self.line, self.refused_body = None, length
            self._discard()
        else:
            self.refuse(HTTPError(429, "busy"))

    def _discard(self) -> None:
        count = min(self.refused_body, len(self._buffer))
        self._buffer = self._buffer[count:]
        self.refused_body -= count

    def answer(self) -> None:
        """Answer the request."""
        assert self.line is not None
        answer = bytes(int(self.line))
        self.transport.write(answer)
        self.line = None
        self.connection.request_answered()
        self._connections.log(Access("me", "-", "-", 200, len(answer), "the-id"))
        self._connections.check_quiet()
        self._parse()

    # As a producer of its transport.

    def pauseProducing(self) -> None:
        """Called when the transport is full."""
        self.connection.pause()

    def resumeProducing(self) -> None:
        """Called when the transport has sent all."""
        self.connection.resume()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost next."""

    # As the receiver of its connection.

    def has_request(self) -> bool:
        """Whether a request is being received or answered."""
        return self.line is not None or bool(self._buffer)

    def has_refused_body(self) -> bool:
        """Whether the body of a refused request is being discarded."""
        return self.refused_body > 0

    def request_line(self) -> tuple[bytes | None, bytes | None]:
        """Return the line, as if it were the method."""
        return self.line, None

    def refuse(self, error: Exception) -> None:
        """Answer with *error*, and close."""
        self.connection.refuse(error_response(error, "the-id"), "the-id")

    def drop_requests(self) -> None:
        """Drop all that was received."""
        self.line, self._buffer, self.refused_body = None, b"", 0

    def resume_receiving(self) -> None:
        """Receive again."""
        self.transport.resumeProducing()
        self._parse()


class LineServer:
    """Connections of `LineProtocol`, their clock and their access log."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.entries: list[Access] = []
        self.draining = False
        self.connections = Connections(
            limits=BodyLimits(max_body=100, max_held=1000),
            client_timeout=TIMEOUT,
            clock=self.clock,
            access_log=self.entries.append,
            draining=lambda: self.draining,
        )

    def connect(self) -> tuple[LineProtocol, HalfCloseable]:
        """Return a new connection whose client reads at once."""
        transport = HalfCloseable(self.clock, PEER)
        return self._connected(transport), transport

    def connect_slow(self) -> tuple[LineProtocol, SlowTransport]:
        """Return a new connection whose client reads only on request."""
        transport = SlowTransport(self.clock, PEER)
        return self._connected(transport), transport

    def _connected(self, transport: PlainTransport | SlowTransport) -> LineProtocol:
        transport.protocol = protocol = LineProtocol(self.connections)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's
        return protocol


def sent(transport: PlainTransport) -> bytes:
    """Return what the server has sent."""
    value = transport.value()  # type: ignore[no-untyped-call]  # Twisted's
    assert isinstance(value, bytes)
    return value


# --- time


@pytest.mark.parametrize("before", [0, 1, 3], ids="{} requests".format)
def test_a_request_that_does_not_arrive_in_time_gets_408(before: int) -> None:
    """Its time starts at its first byte; the answer of a complete one may take any time."""
    server = LineServer()
    protocol, transport = server.connect()
    for _ in range(before):
        server.clock.advance(TIMEOUT - 1)
        protocol.dataReceived(b"0\n")
        server.clock.advance(1000)
        protocol.answer()
    server.clock.advance(TIMEOUT - 1)
    for byte in (b"1", b"2"):
        protocol.dataReceived(byte)
        server.clock.advance(TIMEOUT / 2)
    (answer,) = read_answers(sent(transport))
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"] == "the-id"
    assert [entry.status for entry in server.entries] == [200] * before + [408]
    assert transport.half_closed


def test_an_idle_connection_is_closed_without_an_answer() -> None:
    """When it has been idle for the time that a request may take."""
    server = LineServer()
    protocol, transport = server.connect()
    server.clock.advance(TIMEOUT - 1)
    protocol.dataReceived(b"2\n")
    protocol.answer()
    server.clock.advance(TIMEOUT - 1)
    assert not transport.disconnecting
    server.clock.advance(1)
    assert sent(transport) == bytes(2)
    assert not server.connections.open
    assert server.clock.getDelayedCalls() == []


# --- early answers


def test_an_early_refusal_lingers() -> None:
    """What arrives meanwhile is discarded, and the drain does not wait for it."""
    server = LineServer()
    protocol, transport = server.connect()
    protocol.dataReceived(b"bad\n7\n")
    refused = sent(transport)
    assert [answer.status for answer in read_answers(refused)] == [400]
    assert transport.half_closed
    assert not server.connections.busy
    server.connections.close_idle()
    server.clock.advance(LINGER_SECONDS / 2)
    protocol.dataReceived(b"bad\n")
    protocol.refuse(HTTPError(400, "worse"))
    assert (sent(transport), transport.disconnecting) == (refused, False)
    server.clock.advance(LINGER_SECONDS / 2)
    assert not server.connections.open
    assert server.clock.getDelayedCalls() == []
    length = len(read_answers(refused)[0].body)
    assert server.entries == [Access("192.0.2.7", "bad", "-", 400, length, "the-id")]


@pytest.mark.parametrize(
    ("length", "draining", "kept"),
    [
        (0, False, True),
        (MAX_DISCARDED_BODY_BYTES, False, True),
        (MAX_DISCARDED_BODY_BYTES + 1, False, False),
        (10, True, False),
    ],
)
def test_a_small_body_of_a_refused_request_is_discarded(
    length: int, draining: bool, kept: bool
) -> None:
    """Then the connection is kept, but not if the body is large or the server drains."""
    server = LineServer()
    server.draining = draining
    protocol, transport = server.connect()
    protocol.dataReceived(b"body %d\n" % length)
    (answer,) = read_answers(sent(transport))
    assert answer.status == 429
    assert ("connection" in answer.headers) != kept
    assert transport.half_closed != kept
    assert outcomes(server.connections.when_quiet()) == [None]
    protocol.dataReceived(bytes(length) + b"1\n")
    assert (protocol.line == b"1") == kept


def test_a_drain_leaves_time_to_read_a_refusal() -> None:
    """Although its connection is kept, and the rest of its body is missing."""
    server = LineServer()
    protocol, transport = server.connect()
    protocol.dataReceived(b"body 10\nhalf")
    server.connections.close_idle()
    assert (transport.half_closed, transport.disconnecting) == (True, False)
    server.clock.advance(LINGER_SECONDS)
    assert not server.connections.open


# --- clients that do not read


def cut_off(transport: SlowTransport) -> bool:
    """Return whether the server aborted the connection."""
    return transport.aborted


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """It is not read meanwhile, and each time limit requires progress."""
    server = LineServer()
    protocol, transport = server.connect_slow()
    protocol.dataReceived(b"%d\n1\n" % (100 * KIB))
    protocol.answer()
    assert (protocol.line, transport.reading) == (None, False)
    fired = outcomes(server.connections.when_quiet())
    server.clock.advance(TIMEOUT / 2)
    transport.room = KIB
    transport.pass_on()
    server.clock.advance(TIMEOUT / 2)
    assert not cut_off(transport)
    server.clock.advance(TIMEOUT)
    assert cut_off(transport)
    assert (fired, server.connections.open) == ([None], set())
    assert server.clock.getDelayedCalls() == []


def test_the_end_of_an_answer_in_parts_extends_no_time() -> None:
    """Only what the client reads does."""
    server = LineServer()
    protocol, transport = server.connect_slow()
    protocol.dataReceived(b"1\n")
    protocol.transport.write(bytes(100 * KIB))
    server.clock.advance(TIMEOUT / 2)
    protocol.answer()
    server.clock.advance(TIMEOUT / 2)
    assert cut_off(transport)


def test_a_refusal_of_a_client_that_reads_nothing_lingers() -> None:
    """Then the client has the time of any close to read it."""
    server = LineServer()
    protocol, transport = server.connect_slow()
    protocol.dataReceived(b"%d\n" % (100 * KIB))
    protocol.answer()
    protocol.refuse(HTTPError(400, "bad"))
    server.clock.advance(LINGER_SECONDS)
    server.clock.advance(ABORT_SECONDS - 1)
    assert not cut_off(transport)
    server.clock.advance(1)
    assert cut_off(transport)


def test_a_client_that_reads_late_is_served_on() -> None:
    """The request that was waiting is parsed, and has the whole time for its answer."""
    server = LineServer()
    protocol, transport = server.connect_slow()
    protocol.dataReceived(b"%d\n1\n" % (100 * KIB))
    protocol.answer()
    transport.room = 1 << 20
    transport.pass_on()
    assert (protocol.line, transport.reading) == (b"1", True)
    server.clock.advance(1000)
    protocol.answer()
    transport.pass_on()
    assert len(transport.read) == 100 * KIB + 1
    server.clock.advance(TIMEOUT)
    assert not server.connections.open
    assert not transport.aborted


def test_a_close_completes_without_a_reader() -> None:
    """The transport is aborted."""
    server = LineServer()
    protocol, transport = server.connect_slow()
    protocol.dataReceived(b"9\n")
    protocol.answer()
    server.connections.close_idle()
    server.clock.advance(ABORT_SECONDS)
    assert transport.aborted
    assert not server.connections.open


# --- drain


def test_a_drain_waits_for_the_busy_connections() -> None:
    """Those that send a request or wait for an answer; the others are closed."""
    server = LineServer()
    idle, sending, waiting = (server.connect() for _ in range(3))
    sending[0].dataReceived(b"1")
    waiting[0].dataReceived(b"1\n")
    fired = outcomes(server.connections.when_quiet())
    server.connections.close_idle()
    server.clock.advance(0)
    assert (server.connections.accepted, len(server.connections.open)) == (3, 2)
    assert idle[1].disconnecting
    waiting[0].answer()
    assert fired == []
    sending[0].dataReceived(b"0\n")
    sending[0].answer()
    assert fired == [None]
    server.connections.close_idle()
    server.clock.advance(0)
    assert not server.connections.open


def test_abort_all_cuts_every_connection_off() -> None:
    """Idle, receiving or answering."""
    server = LineServer()
    clients = [server.connect() for _ in range(3)]
    clients[1][0].dataReceived(b"1")
    clients[2][0].dataReceived(b"1\n")
    server.connections.abort_all()
    server.clock.advance(0)
    assert all(transport.aborted for _, transport in clients)
    assert not server.connections.open
