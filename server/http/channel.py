"""
twisted.web's connection: reports its events to a `Connection`, which decides how long it may take.

twisted.web has no public way to answer before the body has been received, nor to see how much of a
request has been received.  The names of `HTTPChannel` that begin with an underscore are overridden
or read here only for that; the tests of this module guard them.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from server.http.connections import Connection
from server.http.error_statuses import HTTPError
from server.http.limits import BodyTooLarge
from server.http.messages import HTTPResponse
from server.http.request import LimitedRequest, header_of, request_id_from, trace_context_in
from server.http.router import error_writer
from server.http.trace_context import TraceContext
from server.http.transport import send_now

if TYPE_CHECKING:
    from server.http.site import LimitedSite


class LimitedChannel(http.HTTPChannel):
    """
    One connection of a client, whose requests may be refused before their body is received.

    It is the `Receiver` of its `Connection`.
    """

    site: "LimitedSite"
    connection: Connection
    transport: Any  # Any: see `Receiver`

    def __init__(self) -> None:
        super().__init__()
        self._host: IAddress | None = None

    # --- the methods of a Receiver

    def has_request(self) -> bool:
        """Whether a request is being received or answered; a refused one does not count."""
        if self.requests:
            return not self.requests[-1].is_refused
        # Bytes of a request line; a line end alone belongs to no request.
        return not self.connection.closing and bool(self._buffer.strip())

    def has_refused_body(self) -> bool:
        """Whether the rest of the body of a refused request is being discarded."""
        return bool(self.requests and self.requests[-1].is_refused)

    def request_line(self) -> tuple[bytes | None, bytes | None]:
        """Return method and URI of the request that is being received; None for what is unknown."""
        if self._handlingRequest:
            return self.requests[-1].method, self.requests[-1].uri
        # Set from the request line on, until the whole request has been received.
        return getattr(self, "_command", None), getattr(self, "_path", None)

    def head_facts(self) -> tuple[float | None, TraceContext | None]:
        """Return when the head of that request was complete, None before, and its trace."""
        request: LimitedRequest | None = self.requests[-1] if self.requests else None
        if request is None or not request.request_id:
            return None, None
        return request.received, trace_context_in(request)

    def origin(self) -> str | None:
        """Return the Origin header of the request that is being received, if it has one."""
        return header_of(self.requests[-1], "origin") if self.requests else None

    def refuse(self, error: Exception) -> None:
        """Answer the request that is being received with *error*, discard its rest, and close."""
        request: LimitedRequest | None = self.requests[-1] if self.requests else None
        if request is not None:
            request.end_early(error)
        request_id = (request.request_id if request else "") or request_id_from(None)
        match = request.match if request else None
        write_error = error_writer(match.route if match else None)
        self.connection.refuse(write_error(error, request_id), request_id)

    def drop_requests(self) -> None:
        """Drop all requests and their bodies: the connection discards what it receives."""
        for request in self.requests:
            request.mark_refused()

    def resume_receiving(self) -> None:
        """Receive and parse again."""
        super().resumeProducing()
        if self.paused:
            self.paused = False
            super().dataReceived(b"")

    # --- events of the transport

    def connectionMade(self) -> None:
        """Called when the connection is made."""
        super().connectionMade()
        self.connection = self.site.connections.accept(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        super().connectionLost(reason)
        self.connection.lost()

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes; the time limit of a request starts at its first byte."""
        if not self.connection.accepts_data:
            return
        # If the buffer has bytes, even a single space, the time has started already.
        if self.requests:
            self.requests[-1].admitted = False
        elif not self._buffer:
            self.connection.request_begins()
        super().dataReceived(data)

    def pauseProducing(self) -> None:
        """Called when the transport is full."""
        super().pauseProducing()
        # While a request is being answered, twisted.web itself would receive the next ones.
        self.connection.pause()

    def resumeProducing(self) -> None:
        """Called when the transport has sent all."""
        self.connection.resume()

    # --- events of the parser

    def lineReceived(self, line: bytes) -> None:
        """Called with a line of the head."""
        if not self.connection.discarding:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Called with a part of the body, or with bytes that follow the body."""
        if not self.connection.discarding:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """
        Called when the head is complete: find the route, check the length, call the preflight.

        If either refuses the request, answer it before its body has been received; a preflight of
        CORS as well.
        """
        request: LimitedRequest = self.requests[-1]
        path = self._path.partition(b"?")[0]
        match = self.site.router.match(self._command, path)
        request.head_received(self.site.connections.clock.seconds(), match)
        try:
            self.site.connections.limits.check_length(self.length)
        except BodyTooLarge as error:
            request.preflight(self._command, path, error)
            self.refuse(error)
            return
        refusal = self._cors_preflight(request) or request.preflight(self._command, path)
        if refusal is None:
            super().allHeadersReceived()
        elif self._can_keep_connection(request):
            super().allHeadersReceived()
            request.mark_refused()
            self.connection.answer_early(refusal, request.request_id)
        else:
            self.connection.refuse(refusal, request.request_id)

    def _cors_preflight(self, request: LimitedRequest) -> HTTPResponse | None:
        """Return the answer to *request* if it is a preflight of CORS that is permitted."""
        cors = self.site.connections.cors
        if cors is None:
            return None
        asked_method = header_of(request, "access-control-request-method")
        return cors.preflight_answer(self._command, self.origin(), asked_method)

    def _can_keep_connection(self, request: LimitedRequest) -> bool:
        """Whether to keep the connection by discarding the body of the refused *request*."""
        # After an Expect header, the client may send either the body or the next request.
        return (
            self.connection.can_discard(self.length)
            and not request.requestHeaders.hasHeader(b"Expect")
            and bool(self.checkPersistence(request, self._version))
        )

    def allContentReceived(self) -> None:
        """Called when the request is complete: pass it to twisted.web."""
        if not self.connection.discarding:
            self.connection.request_received()
            super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of the head that is too long."""
        self.refuse(HTTPError(431, f"a line of the head is over {self.MAX_LENGTH} bytes"))

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._receivedHeaderSize > self.totalHeadersSize:
            error = HTTPError(431, f"the head is over {self.totalHeadersSize} bytes")
        elif self._receivedHeaderCount > self.maxHeaders:
            error = HTTPError(431, f"the head has more than {self.maxHeaders} fields")
        else:
            error = HTTPError(400, "the head or the framing of this request is not HTTP/1.1")
        self.refuse(error)

    # --- answers

    def getHost(self) -> IAddress:
        """Return the local address; it is kept, which saves a system call per request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def write(self, data: bytes) -> None:
        """
        Send *data*; at once if the transport has nothing else to send.

        That saves a turn of the reactor.
        """
        rest = send_now(self.transport, data)
        if rest:
            super().write(rest)

    def requestDone(self, request: http.Request) -> None:
        """
        Called when *request* is answered: close, or continue with the next request.

        While the transport has more to send than it buffers, the next request waits.
        """
        self.paused = self.connection.transport_full  # a paused LineReceiver keeps its buffer
        self.connection.request_answered()
        super().requestDone(request)
        self.site.connections.check_quiet()

    def loseConnection(self) -> None:
        """Close when all that was written is sent."""
        self.connection.close()
