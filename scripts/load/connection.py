"""
One keep-alive connection to the server under test, one request at a time.

Parses with llhttp, for the client must cost less than what it measures.  Reactor thread only.
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

#: How much of the body of a refusal is kept, to be shown.
KEPT = 300


class Owner(Protocol):
    """Who lends a connection out, and hears what came of it."""

    def answered(self, connection: "Connection", exchange: Exchange) -> None:
        """Take the complete answer; `Connection.reusable` says what may be done with the rest."""

    def lost(self, connection: "Connection", exchange: Exchange | None, reason: str) -> None:
        """Hear, once, that the connection has ended, under *exchange* where there is one."""


class Connection(TwistedProtocol):
    """A connection that is free, or waits for the answer to an exchange."""

    transport: ITCPTransport

    def __init__(self, owner: Owner, seconds: Callable[[], float]) -> None:
        self.reusable = True
        self.answers = 0  #: how many it has brought
        self._owner = owner
        self._seconds = seconds
        self._parser = HttpResponseParser(self)
        self._reason = ""  # why it was ended here, where it was
        self._exchange: Exchange | None = None
        self._begin()

    def _begin(self) -> None:
        self._status = 0  # not 0 from the end of the answer's head on
        self._sized = False
        self._complete = False
        self._silent = True
        self._timing = b""
        self._body = b""

    @property
    def stale(self) -> bool:
        """Whether it was kept open for too long: it brought answers, but not a byte of this one."""
        return self.answers > 0 and self._silent

    def connectionMade(self) -> None:
        """Send small requests at once."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def send(self, exchange: Exchange) -> None:
        """Send the request of *exchange*; only while the connection is free."""
        self._exchange = exchange
        self.transport.write(exchange.request)

    def close(self) -> None:
        """End the connection in good order; only while it is free."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once; its exchange is nobody's business any more."""
        self._exchange = None
        self.reusable = False
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Read a piece of an answer."""
        if self._exchange is None:
            self.abort()  # nobody asked: what a server says before it hangs up
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
        """Read no further than the end of the answer; llhttp calls this and what follows."""
        if self._complete:
            raise ValueError("more than one answer to a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what matters of the answer's head."""
        name = name.lower()
        if name == b"server-timing":  # a proxy adds one of its own
            self._timing = self._timing + b", " + value if self._timing else value
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        """Note the status."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep the beginning of what is no success."""
        if self._status >= 300 and len(self._body) < KEPT:
            self._body += body[:KEPT]

    def on_message_complete(self) -> None:
        """Note the end, unless it is a 100 or such, which another answer follows."""
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
        exchange.detail = self._body[:KEPT].decode(errors="replace")
        self.answers += 1
        self._begin()
        if not self.reusable:
            self.transport.abortConnection()  # a server may never read the rest of the request
        self._owner.answered(self, exchange)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hand back what was under way; an answer without a length is complete by this."""
        self.reusable = False
        whole = self._status >= 200 and not self._sized and reason.check(ConnectionDone)
        if self._exchange is not None and whole:
            self._answer(self._exchange)
        exchange, self._exchange = self._exchange, None
        self._owner.lost(self, exchange, self._reason or _in_words(reason, self._silent))


def _in_words(reason: Failure, silent: bool) -> str:
    if reason.check(ConnectionDone):
        part = "without an answer" if silent else "in the middle of the answer"
        return f"the server closed the connection {part}"
    if isinstance(reason.value, TLSError):
        told = reason.value.args[0] if reason.value.args else ""
        words = ", ".join(entry[-1] for entry in told) if isinstance(told, list) else str(told)
        return f"TLS failed: {words}"
    return "the connection broke before the answer"
