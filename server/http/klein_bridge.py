"""
Gives Klein a twisted.web request for an `Exchange`, on a connection that twisted.web has not read.

`BridgeChannel` has what such a request needs of its channel.  Runs on the reactor thread.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from server.http.exchange import Exchange
from server.http.head import reason_phrase
from server.http.messages import HTTPResponse


class BridgeChannel:
    """Writes the answer of one `BridgedRequest` to the connection of its `Exchange`."""

    def __init__(self, exchange: Exchange, site: Site) -> None:
        self.site = site
        self.transport: Any = exchange.channel.transport  # Any: twisted.web hands it on
        self._exchange = exchange
        self._head = b""

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        return self._exchange.channel.connection.peer

    def getHost(self) -> IAddress:
        """Return the local address."""
        return self._exchange.channel.connection.host

    def isSecure(self) -> bool:
        """Whether the connection uses TLS."""
        return bool(ISSLTransport.providedBy(self.transport))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Keep the head of the answer until the first part of the body, or the end."""
        lines = [
            b"%b: %b\r\n" % (name, value)
            for name, values in headers.getAllRawHeaders()
            for value in values
        ]
        self._head = b"HTTP/1.1 %b %b\r\n%b\r\n" % (code, reason, b"".join(lines))

    def write(self, data: bytes) -> None:
        """Send a part of the body, behind the head."""
        head, self._head = self._head, b""
        self._exchange.write(head, data)

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        """Send *parts* of the body."""
        self.write(b"".join(parts))

    def requestDone(self, request: Request) -> None:
        """Called when the answer is complete."""
        if self._head:
            self.write(b"")
        self._exchange.end()

    def loseConnection(self) -> None:
        """Close the connection when all that was written is sent."""
        self._exchange.channel.connection.close()


class BridgedRequest(Request):
    """The request of an `Exchange`, as Klein receives it."""

    defaultContentType = None

    def __init__(self, exchange: Exchange, site: Site) -> None:
        super().__init__(BridgeChannel(exchange, site), parsePOSTFormSubmission=False)
        self.exchange = exchange

    def begin(self) -> None:
        """Let the resource of the site answer."""
        exchange, head = self.exchange, self.exchange.head
        exchange.on_hang_up = self._hang_up
        for name, value in head.fields:
            self.requestHeaders.addRawHeader(name, value)
        self.content = BytesIO(exchange.request.body)
        target = head.raw_path + (b"?" + head.raw_query if head.raw_query else b"")
        self.requestReceived(head.method.encode(), target, head.version.encode())

    def _hang_up(self) -> None:
        self.connectionLost(connectionDone)

    def getRequestHostname(self) -> bytes:
        """Return a fixed name: the Host header selects nothing here."""
        return b"localhost"

    def set_answer(self, answer: HTTPResponse) -> bytes:
        """Set the status and the fields of *answer*; return its body."""
        fields = self.exchange.begin_answer(answer)
        self.setResponseCode(answer.status, reason_phrase(answer.status))
        for name, value in fields.items():
            self.setHeader(name, value)
        return answer.body

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500; if a part of another answer is written, close the connection."""
        answer = self.exchange.answer_to_failure(reason)
        if answer is not None:
            if self.startedWriting:
                self.exchange.closes = True
            else:
                self.write(self.set_answer(answer))
            self.finish()
        return reason
