"""
twisted.web's connection, with limits that act before a body is read to its end.

An early refusal answers, closes its own direction, discards what still comes for a moment, and only
then closes: a client that is busy sending would see a reset instead of the answer otherwise.  Where
no more than the rest of a small body is to come, that is discarded and the connection stays.

A client that does not read its answers is read no more: its next request waits until the transport
has passed on all that was written, and a transport that passes nothing on is cut off.

twisted.web offers no public way to answer before the body has come, nor to see how far a request
has come.  The names of `HTTPChannel` that begin with an underscore are overridden or read here for
that alone; the tests of this module guard them.
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
from server.http.errors import HTTPError, refusal_for
from server.http.head import encode_response
from server.http.limits import BodyLimits
from server.http.messages import HTTPResponse
from server.http.request import LimitedRequest, current_http_date, request_id_from
from server.http.transport import send_now, write_progress

if TYPE_CHECKING:
    from server.http.site import LimitedSite

#: Seconds for which a connection that was refused early goes on discarding what comes.
LINGER_SECONDS = 2.0

#: Bytes of a refused body that are discarded rather than the connection closed: a new one costs as
#: much as they do.
MAX_DISCARDED_BODY_BYTES = 1 << 18


class LimitedChannel(http.HTTPChannel):
    """One connection."""

    site: "LimitedSite"

    def __init__(self) -> None:
        super().__init__()
        self._discarding = False
        self._closing = False
        self._linger: IDelayedCall | None = None
        self._host: IAddress | None = None
        #: The transport has more to pass on than it likes.
        self._transport_full = False
        #: How far it was when it was last looked at; None while nobody waits for it.
        self._last_progress: tuple[int, int] | None = None

    @property
    def limits(self) -> BodyLimits:
        """What bodies may take."""
        return self.site.limits

    @property
    def busy(self) -> bool:
        """Whether a request is being read, from its first byte, or an answer not passed on."""
        if self._discarding:
            return False
        # Bytes of a first line; a mere line's end belongs to no request.
        begun = not self._closing and self._buffer.strip()
        return bool(
            begun or self._transport_full or (self.requests and not self._only_body_remains)
        )

    @property
    def _only_body_remains(self) -> bool:
        """Whether only the rest of a body is to come, of a request that has its answer."""
        return bool(self.requests and self.requests[-1].is_refused)

    def getHost(self) -> IAddress:
        """Return this end's address; it stays, and to ask the kernel costs each request a call."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def connectionMade(self) -> None:
        """Hear that the connection stands."""
        super().connectionMade()
        self.site.channel_opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hear that the connection is gone."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        super().connectionLost(reason)
        self.site.channel_closed(self)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the time to send a request counts from the first of them."""
        if self._discarding or self._closing:
            return
        # What lies in the buffer has set the time already, were it only a space.
        if self.requests:
            self.requests[-1].admitted = False
        elif not self._buffer:
            self.setTimeout(self.timeOut)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Do nothing: a byte now and then must not hold a connection for ever."""

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head."""
        if not self._discarding:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of the body, or of what comes after it."""
        if not self._discarding:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """Refuse what is declared too long, or not welcome, before a byte of its body is read."""
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
        request.admitted = answer is None
        return answer

    def _can_keep_connection(self, request: LimitedRequest) -> bool:
        """Whether the connection is worth more than the body of *request*, which is refused."""
        if self.length is None or self.length > MAX_DISCARDED_BODY_BYTES or self.site.draining():
            return False
        # Whoever waits to be told to go on may send the body after all, or the next request.
        if request.requestHeaders.hasHeader(b"Expect"):
            return False
        return bool(self.checkPersistence(request, self._version))

    def _send_early_answer(self, request: LimitedRequest, answer: HTTPResponse) -> None:
        """Answer *request* before its body has come."""
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
        """Hand the request on."""
        if not self._discarding:
            super().allContentReceived()

    def write(self, data: bytes) -> None:
        """Send *data*, at once where nothing waits: a turn of the reactor costs more."""
        rest = send_now(self.transport, data)
        if rest:
            super().write(rest)

    def requestDone(self, request: http.Request) -> None:
        """Go on with what the client sent meanwhile, if it reads the answers, or close."""
        self.paused = self._transport_full  # a LineReceiver that is paused keeps what it has
        super().requestDone(request)
        self.site.check_quiet()

    def pauseProducing(self) -> None:
        """Hear that the client does not read what was written; read nothing more from it."""
        super().pauseProducing()
        # Where a request is being answered, twisted.web would go on reading the next ones.
        transport: Any = self.transport  # Any: what pauses a connection can be paused itself
        transport.pauseProducing()
        if not self._transport_full:
            self._transport_full = True
            self._require_progress(self.site.timeOut)

    def resumeProducing(self) -> None:
        """Hear that all was passed on; go on with what the client sent meanwhile."""
        self._transport_full = False
        self._last_progress = None
        self.setTimeout(None if self._handlingRequest else self.site.timeOut)
        super().resumeProducing()
        if self.paused:
            self.paused = False
            super().dataReceived(b"")
        self.site.check_quiet()

    def loseConnection(self) -> None:
        """Close when all that was written is passed on; a client that reads nothing is cut off."""
        if not self._closing:
            self._closing = True
            self._require_progress(self.abortTimeout)
        super().loseConnection()

    def _require_progress(self, seconds: float | None) -> None:
        """See to it that the transport passes something on within each so many *seconds*."""
        self._last_progress = write_progress(self.transport)
        self.setTimeout(seconds)

    def close_if_idle(self) -> None:
        """Close the connection if it is at rest; one that was refused closes by itself."""
        if self.busy or self._discarding:
            return
        if self._only_body_remains:
            self._close_after_linger()
        else:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """Cut off, tell or close: who reads nothing, who sends too slowly, who is only idle."""
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
        """Answer what is being read with *error* now, discard the rest of it, and close."""
        if self._discarding or self.transport is None:
            return
        request: LimitedRequest | None = self.requests[-1] if self.requests else None
        request_id = (request.request_id if request else "") or request_id_from(None)
        self._answer_and_close(refusal_for(error).response(request_id), request_id)

    def _answer_and_close(self, answer: HTTPResponse, request_id: str) -> None:
        """Send *answer* to what is being read, discard the rest of it, and close."""
        access = self._access_entry(answer, request_id)
        fields = {"X-Request-Id": request_id, "Date": current_http_date(), "Connection": "close"}
        self._close_after_linger(encode_response(answer, fields))
        self.site.log_access(access)
        self.site.check_quiet()

    def _close_after_linger(self, last: bytes = b"") -> None:
        """Write *last*, forget what has come of a body, discard the rest for a moment, close."""
        self._discarding = True
        self.setTimeout(None)
        for request in self.requests:
            request.mark_refused()
        transport: Any = self.transport  # Any: TCP can close one direction, TLS cannot
        # This channel has no more to write; a producer that is paused would put off every close.
        transport.unregisterProducer()
        transport.write(last)
        self._linger = self.callLater(LINGER_SECONDS, self.loseConnection)
        if IHalfCloseableDescriptor.providedBy(cast("object", transport)):
            transport.loseWriteConnection()

    def _access_entry(self, answer: HTTPResponse, request_id: str) -> Access:
        # Known from when the first line was understood until the whole request has come.
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
