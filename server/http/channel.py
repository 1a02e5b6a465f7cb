"""
twisted.web's connection, with limits that apply before a body has been received.

Early refusal: the channel sends the answer, closes the sending direction, discards what it receives
for `LINGER_SECONDS`, and then closes.  Without that pause a client that is still sending would see
a reset instead of the answer.  If only a small body remains, the channel discards it and keeps the
connection.

A client that does not read its answers: the channel reads no further request until the transport
has sent all that was written, and aborts a transport that sends nothing.

twisted.web has no public way to answer before the body has been received, nor to see how much of a
request has been received.  The names of `HTTPChannel` that begin with an underscore are overridden
or read here only for that; the tests of this module guard them.
"""

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableDescriptor,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from server.http.access import UNKNOWN, Access, ascii_text, client_name
from server.http.error_statuses import HTTPError, refusal_for
from server.http.head import encode_response
from server.http.limits import BodyLimits
from server.http.messages import HTTPResponse
from server.http.request import LimitedRequest, current_http_date, request_id_from
from server.http.transport import send_now, write_progress

if TYPE_CHECKING:
    from server.http.site import LimitedSite

#: Seconds for which a connection discards what it receives after an early refusal.
LINGER_SECONDS = 2.0

#: Longest body, in bytes, of a refused request that is discarded to keep the connection; discarding
#: more costs more than a new connection.
MAX_DISCARDED_BODY_BYTES = 1 << 18


class LimitedChannel(http.HTTPChannel):
    """One connection of a client, whose requests may be refused before their body is received."""

    site: "LimitedSite"

    def __init__(self) -> None:
        super().__init__()
        self._discarding = False
        self._closing = False
        self._linger: IDelayedCall | None = None
        self._host: IAddress | None = None
        #: Whether the transport has more to send than it buffers.
        self._transport_full = False
        #: The write progress at the last check; None while no progress is required.
        self._last_progress: tuple[int, int] | None = None

    @property
    def limits(self) -> BodyLimits:
        """The limits of request bodies."""
        return self.site.limits

    @property
    def busy(self) -> bool:
        """
        Whether a request is being received or answered, or the transport has more to send.

        False if only the body of a refused request remains, which is discarded.
        """
        if self._discarding:
            return False
        # Bytes of a request line; a line end alone belongs to no request.
        begun = not self._closing and self._buffer.strip()
        return bool(
            begun or self._transport_full or (self.requests and not self._only_body_remains)
        )

    @property
    def _only_body_remains(self) -> bool:
        """Whether the last request is refused, so that the rest of its body is discarded."""
        return bool(self.requests and self.requests[-1].is_refused)

    def getHost(self) -> IAddress:
        """Return the local address; it is kept, which saves a system call per request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def connectionMade(self) -> None:
        """Called when the connection is made."""
        super().connectionMade()
        self.site.channel_opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        super().connectionLost(reason)
        self.site.channel_closed(self)

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes; the time limit of a request starts at its first byte."""
        if self._discarding or self._closing:
            return
        # If the buffer has bytes, even a single space, the time has started already.
        if self.requests:
            self.requests[-1].admitted = False
        elif not self._buffer:
            self.setTimeout(self.timeOut)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Do nothing: otherwise each received byte would start the time limit again."""

    def lineReceived(self, line: bytes) -> None:
        """Called with a line of the head."""
        if not self._discarding:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Called with a part of the body, or with bytes that follow the body."""
        if not self._discarding:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """
        Called when the head is complete: check the declared length, then call the preflight.

        If either refuses the request, answer it before its body has been received.
        """
        request: LimitedRequest = self.requests[-1]
        request.head_received(self.site.seconds())
        try:
            self.site.limits.check_length(self.length)
        except HTTPError as error:
            self.refuse(error)
            return
        answer = self._preflight(request)
        if answer is None:
            super().allHeadersReceived()
        elif self._can_keep_connection(request):
            super().allHeadersReceived()
            self._send_early_answer(request, answer)
        else:
            self._answer_and_close(answer, request.request_id)

    def _preflight(self, request: LimitedRequest) -> HTTPResponse | None:
        path = self._path.partition(b"?")[0]
        route = self.site.router.match(self._command, path)
        if route is None or route.preflight is None:
            return None
        answer = route.preflight(request.head(self._command, path))
        if isinstance(answer, HTTPResponse):
            return answer
        request.preflighted = answer
        request.admitted = True
        return None

    def _can_keep_connection(self, request: LimitedRequest) -> bool:
        """Whether to keep the connection by discarding the body of the refused *request*."""
        if self.length is None or self.length > MAX_DISCARDED_BODY_BYTES or self.site.draining():
            return False
        # After an Expect header, the client may send either the body or the next request.
        if request.requestHeaders.hasHeader(b"Expect"):
            return False
        return bool(self.checkPersistence(request, self._version))

    def _send_early_answer(self, request: LimitedRequest, answer: HTTPResponse) -> None:
        """Answer *request* before its body has been received; the body is then discarded."""
        access = self._access_entry(answer, request.request_id)
        request.mark_refused()
        transport: Any = self.transport  # Any: see `_close_after_linger`
        transport.write(
            encode_response(
                answer, {"X-Request-Id": request.request_id, "Date": current_http_date()}
            )
        )
        self.site.log_access(access)
        self.site.check_quiet()

    def allContentReceived(self) -> None:
        """Called when the request is complete: pass it to twisted.web."""
        if not self._discarding:
            super().allContentReceived()

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
        self.paused = self._transport_full  # a paused LineReceiver keeps its buffer
        super().requestDone(request)
        self.site.check_quiet()

    def pauseProducing(self) -> None:
        """Called when the transport is full; receive nothing more until it has sent all."""
        super().pauseProducing()
        # While a request is being answered, twisted.web would receive the next ones.
        transport: Any = self.transport  # Any: a transport can be paused itself
        transport.pauseProducing()
        if not self._transport_full:
            self._transport_full = True
            self._require_progress(self.site.timeOut)

    def resumeProducing(self) -> None:
        """Called when the transport has sent all; continue with the next request."""
        self._transport_full = False
        self._last_progress = None
        self.setTimeout(None if self._handlingRequest else self.site.timeOut)
        super().resumeProducing()
        if self.paused:
            self.paused = False
            super().dataReceived(b"")
        self.site.check_quiet()

    def loseConnection(self) -> None:
        """
        Close when all that was written is sent.

        Abort if the transport sends nothing for `abortTimeout` seconds.
        """
        if not self._closing:
            self._closing = True
            self._require_progress(self.abortTimeout)
        super().loseConnection()

    def _require_progress(self, seconds: float | None) -> None:
        """
        Require the transport to send something within *seconds*; None: at any time.

        `timeoutConnection` checks this, and then requires the same for the next `timeOut` seconds.
        """
        self._last_progress = write_progress(self.transport)
        self.setTimeout(seconds)

    def close_if_idle(self) -> None:
        """
        Close the connection unless it is busy.

        After an early refusal that closes the connection, do nothing: `_linger` closes it.
        """
        if self.busy or self._discarding:
            return
        if self._only_body_remains:
            self._close_after_linger()
        else:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """
        Called when a time limit has passed.

        If the transport must send something: abort if it has sent nothing since the limit was set,
        else set the limit again.  If it need not: answer 408 if a request is incomplete, else
        close.
        """
        if self._last_progress is not None:
            if self._last_progress == write_progress(self.transport):
                self.forceAbortClient()
            else:
                self._require_progress(self.timeOut)
        elif self.busy:
            limit = f"{self.timeOut:g}"
            self.refuse(HTTPError(408, f"the request did not arrive within {limit} seconds"))
        else:
            self.loseConnection()

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

    def refuse(self, error: HTTPError) -> None:
        """Answer the request that is being received with *error*, discard its rest, and close."""
        if self._discarding or self.transport is None:
            return
        request: LimitedRequest | None = self.requests[-1] if self.requests else None
        request_id = (request.request_id if request else "") or request_id_from(None)
        self._answer_and_close(refusal_for(error).response(request_id), request_id)

    def _answer_and_close(self, answer: HTTPResponse, request_id: str) -> None:
        """Answer the request that is being received with *answer*, discard its rest, and close."""
        access = self._access_entry(answer, request_id)
        fields = {"X-Request-Id": request_id, "Date": current_http_date(), "Connection": "close"}
        self._close_after_linger(encode_response(answer, fields))
        self.site.log_access(access)
        self.site.check_quiet()

    def _close_after_linger(self, last: bytes = b"") -> None:
        """Write *last*, drop all bodies, discard what is received for `LINGER_SECONDS`, close."""
        self._discarding = True
        self.setTimeout(None)
        for request in self.requests:
            request.mark_refused()
        transport: Any = self.transport  # Any: TCP can close one direction, TLS cannot
        # This channel writes no more; a paused producer would delay every close.
        transport.unregisterProducer()
        transport.write(last)
        self._linger = self.callLater(LINGER_SECONDS, self.loseConnection)
        if IHalfCloseableDescriptor.providedBy(cast("object", transport)):
            transport.loseWriteConnection()

    def _access_entry(self, answer: HTTPResponse, request_id: str) -> Access:
        # Set from the request line on, until the whole request has been received.
        method, uri = getattr(self, "_command", None), getattr(self, "_path", None)
        if self._handlingRequest:
            method, uri = self.requests[-1].method, self.requests[-1].uri
        return Access(
            client=client_name(self.getPeer()),
            method=UNKNOWN if method is None else ascii_text(method),
            uri=UNKNOWN if uri is None else ascii_text(uri),
            status=answer.status,
            sent=len(answer.body),
            request_id=request_id,
            timing=answer.headers.get("Server-Timing", ""),
        )
