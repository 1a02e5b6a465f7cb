"""
One keep-alive connection to the server under test, one request at a time.

Parses with llhttp, because the client must cost less CPU time than the server that it measures.
Reactor thread only.
"""

from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from scripts.load.exchange import Exchange

#: The most bytes of the body of an unsuccessful answer that are kept for the report.
MAX_DETAIL_BYTES = 300


class ConnectionOwner(Protocol):
    """The object to which connections report their events: the pool."""

    def answered(self, connection: "Connection", exchange: Exchange) -> None:
        """
        Called when the answer to *exchange* is complete.

        `connection.reusable` is true if the connection can take another request.
        """

    def lost(self, connection: "Connection", exchange: Exchange | None, reason: str) -> None:
        """
        Called once, when the connection has ended; *exchange* is the one in flight, else None.
        """


class Connection(TwistedProtocol):
    """A connection to the server that is free or waits for the answer to one exchange."""

    transport: ITCPTransport

    def __init__(self, owner: ConnectionOwner, seconds: Callable[[], float]) -> None:
        self.reusable = True
        self.answers = 0  #: answers received on this connection
        self._owner = owner
        self._seconds = seconds
        self._parser = HttpResponseParser(self)
        self._reason = ""  # why this side ended the connection, if it did
        self._exchange: Exchange | None = None
        self._begin()

    def _begin(self) -> None:
        self._status = 0  # 0 until the head of the answer is complete
        self._sized = False
        self._complete = False
        self._silent = True
        self._timing = b""
        self._body = b""

    @property
    def stale(self) -> bool:
        """
        Whether the server seems to have closed the connection before the request reached it.

        True if the connection has had an answer before, and no byte of the next answer has arrived.
        """
        return self.answers > 0 and self._silent

    def connectionMade(self) -> None:
        """
        Called when the connection is open: turn off Nagle's algorithm, which delays small requests.
        """
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def send(self, exchange: Exchange) -> None:
        """Send the request of *exchange*; the connection must be free."""
        self._exchange = exchange
        self.transport.write(exchange.request)

    def close(self) -> None:
        """Close the connection after all written bytes are sent; it must be free."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once; its exchange is not reported to the owner."""
        self._exchange = None
        self.reusable = False
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Called when bytes arrive: parse them, and report the answer when it is complete."""
        if self._exchange is None:
            self.abort()  # no request is in flight: a last message before the server closes
            return
        self._silent = False
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if not self._complete:
                switches = isinstance(error, HttpParserUpgrade)
                problem = "it switches protocols" if switches else error
                self._reason = f"the answer is not HTTP: {problem}"
                self.transport.abortConnection()
                return
        if self._complete:
            self._answer(self._exchange)

    def on_message_begin(self) -> None:
        """
        Called when an answer begins; raises ValueError at a second answer.

        llhttp calls this method and those below.
        """
        if self._complete:
            raise ValueError("more than one answer to a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Keep the Server-Timing header, and note whether the head determines the length of the body.
        """
        name = name.lower()
        if name == b"server-timing":  # a proxy adds one of its own
            self._timing = self._timing + b", " + value if self._timing else value
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        """Keep the HTTP status of the answer."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep the first `MAX_DETAIL_BYTES` bytes of the body if the status is 300 or more."""
        if self._status >= 300 and len(self._body) < MAX_DETAIL_BYTES:
            self._body += body[:MAX_DETAIL_BYTES]

    def on_message_complete(self) -> None:
        """
        Mark the answer complete if its status is 200 or more; after a 1xx, the real answer follows.
        """
        if self._status >= 200:
            self._complete = True
            self.reusable = self._parser.should_keep_alive()
        else:
            self._timing, self._sized = b"", False

    def _answer(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.ended = self._seconds()
        exchange.status = self._status
        exchange.timing = self._timing
        exchange.detail = self._body[:MAX_DETAIL_BYTES].decode(errors="replace")
        self.answers += 1
        self._begin()
        if not self.reusable:
            self.transport.abortConnection()  # a server may never read the rest of the request
        self._owner.answered(self, exchange)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Called when the connection has ended, and report it to the owner.

        If the length of the body was not given, a clean end of the connection completes the answer.
        """
        self.reusable = False
        complete = self._status >= 200 and not self._sized and reason.check(ConnectionDone)
        if self._exchange is not None and complete:
            self._answer(self._exchange)
        exchange, self._exchange = self._exchange, None
        self._owner.lost(self, exchange, self._reason or _reason_text(reason, self._silent))


def _reason_text(reason: Failure, silent: bool) -> str:
    if reason.check(ConnectionDone):
        part = "without an answer" if silent else "in the middle of the answer"
        return f"the server closed the connection {part}"
    if isinstance(reason.value, TLSError):
        errors = reason.value.args[0] if reason.value.args else ""
        words = (
            ", ".join(entry[-1] for entry in errors) if isinstance(errors, list) else str(errors)
        )
        return f"TLS failed: {words}"
    return "the connection broke before the answer"
