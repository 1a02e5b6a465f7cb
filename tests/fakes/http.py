"""
Connections without sockets, and the clients on them.

An effect that a real connection has later takes place at the next turn of a `Clock`, never inside a
call.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableDescriptor, IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from server.http.messages import HTTPRequest

if TYPE_CHECKING:
    from twisted.internet.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as the client reads it."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes

    def json(self) -> Any:  # Any: the test knows the content of a body
        """Return the parsed body."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message in the body of a refusal."""
        message = self.json()["error"]
        assert isinstance(message, str)
        return message


def read_answers(data: bytes, *, bodies: bool = True) -> list[Answer]:
    """
    Return the answers in *data*; fails if one is cut short or repeats a header.

    Without *bodies* they are answers to HEAD.
    """
    answers: list[Answer] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"a head without an end: {head!r}"
        status_line, *lines = head.decode("ascii").split("\r\n")
        pairs = [line.lower().split(": ", 1)[0] for line in lines]
        assert len(set(pairs)) == len(pairs), f"a header twice: {pairs}"
        headers = {name.lower(): value for name, value in (ln.split(": ", 1) for ln in lines)}
        version, status = status_line.split(" ")[:2]
        assert version in ("HTTP/1.1", "HTTP/1.0")
        has_body = bodies and status not in ("204", "304")
        length = int(headers.get("content-length", "0")) if has_body else 0
        assert len(data) >= length, "a body that is cut short"
        answers.append(Answer(int(status), headers, data[:length]))
        data = data[length:]
    return answers


def request(
    method: str = "POST",
    target: str = "/",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a request with *headers* and, unless *body* is chunked, its Content-Length."""
    all_headers = {"Host": "localhost", **(headers or {})}
    if body and "Transfer-Encoding" not in all_headers:
        all_headers.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in all_headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def head(*lines: str, method: str = "POST", target: str = "/") -> bytes:
    """Return the head of a request with no header but Host and *lines*."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


def chunk(data: bytes) -> bytes:
    """Return *data* as a chunk of a chunked body; an empty chunk ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class PlainTransport(StringTransport):
    """The server's end of a connection that cannot close one direction alone, as under TLS."""

    dataBuffer = b""  # the client reads at once
    offset = 0

    def __init__(self, clock: IReactorTime, peer: IAddress) -> None:
        super().__init__(peerAddress=peer, lenient=True)  # type: ignore[no-untyped-call]  # Twisted's
        self.half_closed = False
        self.aborted = False
        self.protocol: Protocol
        self._clock = clock

    def unregisterProducer(self) -> None:
        """Remove the producer, if any; as real transports do."""
        self.producer = None

    def loseConnection(self) -> None:
        """Close at the next turn."""
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self.lost)

    def abortConnection(self) -> None:
        """Abort at the next turn."""
        self.aborted = True
        self.loseConnection()

    def lost(self) -> None:
        """Lose the connection, and report it to the protocol."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(PlainTransport):
    """The server's end of a TCP connection, which can close one direction."""

    def loseWriteConnection(self) -> None:
        """Close the direction to the client."""
        self.half_closed = True

    def writeConnectionLost(self, reason: Failure) -> None:
        """Do nothing: no kernel reports this."""

    def readConnectionLost(self, reason: Failure) -> None:
        """Lose the connection, as with most protocols, when the client closes its direction."""
        self.lost()

    def write(self, data: bytes) -> None:
        """Accept *data*; fails after `loseWriteConnection`."""
        assert not self.half_closed, f"written after the end: {data!r}"
        super().write(data)  # type: ignore[no-untyped-call]  # Twisted's


class SlowTransport(FileDescriptor):
    """
    The server's end of a connection as in Twisted, except for the socket.

    It sends up to *room* bytes, which the client increases by reading.
    """

    def __init__(self, clock: IReactorTime, peer: IAddress) -> None:
        super().__init__(clock)  # type: ignore[arg-type]  # no descriptor is ever given to it
        self.connected = 1
        self.TLS = False  #: whether what is written is encrypted first, after `startTLS`
        self.protocol: Protocol
        self.room = 0
        self.read = bytearray()  #: bytes that the client has read
        self.reading = True
        self.writing = False
        self.half_closed = False
        self.aborted = False
        self._clock = clock
        self._peer = peer

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return the server's address."""
        return IPv4Address("TCP", "192.0.2.1", 8000)

    def startReading(self) -> None:
        """Receive what the client sends."""
        self.reading = True

    def stopReading(self) -> None:
        """Receive nothing from the client."""
        self.reading = False

    def startWriting(self) -> None:
        """Send what is written at the next turn of the clock."""
        self.writing = True
        self._clock.callLater(0, self.pass_on)

    def stopWriting(self) -> None:
        """Send nothing."""
        self.writing = False

    def writeSomeData(self, data: bytes) -> int:
        """Send as much of *data* as there is room for."""
        taken = bytes(data[: self.room])
        self.read += taken
        self.room -= len(taken)
        return len(taken)

    def pass_on(self) -> None:
        """Send as the reactor does when a socket accepts more."""
        while self.writing and (self.room or not self.unsent):
            gone = self.doWrite()  # type: ignore[no-untyped-call]  # Twisted's
            if gone:
                self.connectionLost(Failure(gone))

    @property
    def unsent(self) -> int:
        """Bytes that wait for room."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def _closeWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        """Abort at the next turn."""
        self.aborted = True
        self.stopWriting()
        self._clock.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """Lose the connection, and report it to the protocol."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's
        self.protocol.connectionLost(reason)


PEER = IPv4Address("TCP", "192.0.2.7", 40_000)


class ConnectionFactory(Interface):
    """What builds the protocol of each connection of a server."""

    def buildProtocol(self, addr: Any) -> Any:
        """Return the protocol of a connection."""


def connected(site: ConnectionFactory, transport: Any, peer: IAddress) -> "Protocol":
    """Return the protocol of *site* for a new connection, after its start."""
    protocol: Protocol = site.buildProtocol(peer)
    transport.protocol = protocol
    protocol.makeConnection(transport)
    return protocol


class SlowClient:
    """A client of *site* that reads only on request, and sends as much as the server receives."""

    def __init__(self, site: ConnectionFactory, clock: Clock, *, room: int = 0) -> None:
        self.transport = SlowTransport(clock, PEER)
        self.transport.room = room
        self.unsent = b""  #: sent, but not received by the server
        self._clock = clock
        self.protocol = self.transport.protocol = connected(site, self.transport, PEER)

    def send(self, data: bytes, segment: int = 0x10000) -> None:
        """Send *data*; what the server does not receive waits."""
        self.unsent += data
        while self.unsent and self.transport.reading:
            data, self.unsent = self.unsent[:segment], self.unsent[segment:]
            self.protocol.dataReceived(data)
            self._clock.advance(0)

    def read(self, count: int) -> None:
        """Read up to *count* bytes more."""
        self.transport.room += count
        self.transport.pass_on()
        self.send(b"")

    def read_all(self) -> list[Answer]:
        """Read everything, and return all answers."""
        self.read(1 << 40)
        return read_answers(bytes(self.transport.read))


class Client:
    """The client's end of one connection to *site*."""

    def __init__(
        self,
        site: ConnectionFactory,
        clock: IReactorTime,
        *,
        transport: Callable[[IReactorTime, IAddress], PlainTransport] = HalfCloseable,
        peer: IAddress = PEER,
    ) -> None:
        self.transport = transport(clock, peer)
        self.sent = b""  #: all bytes sent
        self.protocol = self.transport.protocol = connected(site, self.transport, peer)

    def send(self, *pieces: bytes) -> None:
        """Send *pieces*, each in a segment of its own."""
        for piece in pieces:
            assert self.transport.connected, "sent on a closed connection"
            self.sent += piece
            self.protocol.dataReceived(piece)

    def hang_up(self) -> None:
        """Close the connection."""
        self.transport.lost()

    @property
    def received(self) -> bytes:
        """All bytes received."""
        value = self.transport.value()  # type: ignore[no-untyped-call]  # Twisted's
        assert isinstance(value, bytes)
        return value

    @property
    def answers(self) -> list[Answer]:
        """All answers received; those to HEAD have no body."""
        return read_answers(self.received, bodies=not self.sent.startswith(b"HEAD "))

    @property
    def answer(self) -> Answer:
        """The only answer received."""
        (answer,) = self.answers
        return answer

    @property
    def statuses(self) -> list[int]:
        """The statuses of all answers received."""
        return [answer.status for answer in self.answers]

    def is_open(self) -> bool:
        """Whether the server keeps the connection open."""
        return self.transport.connected and not self.transport.disconnecting


def http_request(
    body: bytes = b"",
    *,
    query: Mapping[str, tuple[str, ...]] | None = None,
    received: float = 0.0,
    headers: Mapping[str, str] | None = None,
    admitted: bool = False,
    preflighted: object = None,
) -> HTTPRequest:
    """Return a request as an endpoint receives it; names in *headers* are in lower case."""
    return HTTPRequest(
        method="POST",
        path="/",
        rest="",
        query=query or {},
        headers=headers or {},
        body=body,
        request_id="the-id",
        received=received,
        connection=object(),
        admitted=admitted,
        preflighted=preflighted,
    )
