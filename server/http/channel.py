"""
twisted.web's connection and request, with limits that act before a body is read to its end.

An early refusal answers, closes its own direction, discards what still comes for a moment, and only
then closes: a client that is busy sending would see a reset instead of the answer otherwise.  Four
names of `HTTPChannel` that begin with an underscore are overridden or read here; twisted.web offers
no public way to answer before the body has come, and the tests of this module guard them.
"""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from server.errors import HTTPError, refusal_for
from server.http.limits import BodyLimits

#: Writes one line about a request that was answered.
AccessLog = Callable[[Request], object]

#: Seconds for which a connection that was refused early goes on discarding what comes.
LINGER = 2.0

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(header: str | None) -> str:
    """Return the client's own request id where it is printable and short, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    return uuid4().hex


def request_id_in(request: Request) -> str:
    """Return the id of *request* from its header, whatever bytes that has, or a new one."""
    header = request.getHeader(b"x-request-id")
    return request_id_of(None if header is None else header.decode("latin-1"))


class LimitedRequest(Request):
    """A request whose body stays in memory and is counted while it is held."""

    channel: "LimitedChannel"

    def __init__(self, channel: "LimitedChannel", *args: object, **kwargs: object) -> None:
        super().__init__(channel, *args, **kwargs)
        self.request_id = ""
        self.received = 0.0
        self._limits = channel.site.limits
        self._held = 0

    def head_received(self, now: float) -> None:
        """Note the id and the time of arrival, once all headers have come."""
        self.request_id = request_id_in(self)
        self.received = now

    def gotLength(self, length: int | None) -> None:
        """Prepare for the body; twisted.web's own way would put a photo into a file."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, or refuse the request."""
        try:
            self._limits.hold(self._held, len(data))
        except HTTPError as error:
            self.channel.refuse(error, self.request_id)
        else:
            self._held += len(data)
            super().handleContentChunk(data)

    def process(self) -> None:
        """Find who answers; a path that is no text is nobody's."""
        # Not every answer comes from an endpoint: that to `OPTIONS *` is twisted.web's own.
        self.setHeader("X-Request-Id", self.request_id)
        try:
            unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            self.channel.refuse(HTTPError(400, "the path is not UTF-8"), self.request_id)
        else:
            super().process()

    def getRequestHostname(self) -> bytes:
        """Return a name; what the client calls this host routes nothing, and may be no name."""
        return b"localhost"

    def finish(self) -> None:
        """End the answer."""
        self._release()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Hear that the client is gone."""
        self._release()
        super().connectionLost(reason)

    def _release(self) -> None:
        self._limits.release(self._held)
        self._held = 0


class LimitedChannel(http.HTTPChannel):
    """One connection."""

    site: "LimitedSite"

    def __init__(self) -> None:
        super().__init__()
        self._discarding = False
        self._linger: IDelayedCall | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being read, from its first byte, or answered."""
        if self._discarding:
            return False
        # Bytes of a first line; a mere line's end belongs to no request.
        begun = self.persistent and self._buffer.strip()
        return bool(self.requests or begun)

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
        if self._discarding:
            return
        if not self.busy:
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
        """Refuse a body that is declared too long before a byte of it is read."""
        request = self.requests[-1]
        request.head_received(self.site.seconds())
        try:
            self.site.limits.check_length(self.length)
        except HTTPError as error:
            self.refuse(error, request.request_id)
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Hand the request on."""
        if not self._discarding:
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Go on with what the client sent meanwhile, or close."""
        super().requestDone(request)
        self.site.channel_idle()

    def close_if_idle(self) -> None:
        """Close the connection if it is at rest; one that was refused closes by itself."""
        if not self.busy and not self._discarding:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        """Tell a client that was too slow; close a connection that was only idle."""
        if self.busy:
            limit = f"{self.timeOut:g}"
            self.refuse(HTTPError(408, f"the request did not arrive within {limit} seconds"))
        else:
            super().timeoutConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of the head that is too long."""
        self.refuse(HTTPError(431, f"a line of the head is over {self.MAX_LENGTH} bytes"))

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._receivedHeaderSize > self.totalHeadersSize:
            error = HTTPError(431, f"the head is over {self.totalHeadersSize} bytes")
        elif self._receivedHeaderCount > self.maxHeaders:
            error = HTTPError(431, f"the head has more than {self.maxHeaders} fields")
        else:
            error = HTTPError(400, "this is not an HTTP/1.1 request")
        self.refuse(error)

    def refuse(self, error: HTTPError, request_id: str | None = None) -> None:
        """Answer with *error* now, discard the rest of the request, and close."""
        if self._discarding or self.transport is None:
            return
        self._discarding = True
        self.setTimeout(None)
        request_id = request_id or request_id_of(None)
        answer = refusal_for(error).response(request_id)
        reason = http.RESPONSES.get(answer.status, b"Refused").decode()
        head = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            "X-Request-Id": request_id,
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{k}: {v}" for k, v in head.items())]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
        transport: Any = self.transport  # Any: TCP can close one direction, TLS cannot
        self._linger = self.callLater(LINGER, transport.loseConnection)
        if IHalfCloseableDescriptor.providedBy(self.transport):
            transport.loseWriteConnection()
        self.site.channel_idle()


class LimitedSite(Site):
    """The connections of one server; knows which of them are busy."""

    # Without HTTP/2, which twisted.web's own factory would choose under TLS where it can.
    protocol = LimitedChannel  # type: ignore[assignment]  # a channel like any other
    requestFactory = LimitedRequest
    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        limits: BodyLimits,
        client_timeout: float,
        clock: IReactorTime,
        access_log: AccessLog | None = None,
    ) -> None:
        # Form bodies are parsed where they are understood, and never twice.
        super().__init__(
            resource, parsePOSTFormSubmission=False, timeout=client_timeout, reactor=clock
        )
        self.limits = limits
        self.seconds = clock.seconds
        self.channels: set[LimitedChannel] = set()
        self._quiet: list[Deferred[None]] = []
        self._access_log = access_log
        #: Connections accepted so far.
        self.accepted = 0

    def log(self, request: http.Request) -> None:
        """Tell the access log of an answer."""
        if self._access_log is not None:
            self._access_log(cast("Request", request))

    def channel_opened(self, channel: LimitedChannel) -> None:
        """Count a connection."""
        self.accepted += 1
        self.channels.add(channel)

    def channel_closed(self, channel: LimitedChannel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        self.channel_idle()

    def channel_idle(self) -> None:
        """Look whether all connections are at rest."""
        if self._quiet and not self.busy:
            waiting, self._quiet = self._quiet, []
            for quiet in waiting:
                quiet.callback(None)

    @property
    def busy(self) -> bool:
        """Whether any connection reads or answers a request."""
        return any(channel.busy for channel in self.channels)

    def when_quiet(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection reads or answers a request."""
        quiet: Deferred[None] = Deferred()
        self._quiet.append(quiet)
        self.channel_idle()
        return quiet

    def close_idle(self) -> None:
        """Close the connections that are at rest."""
        for channel in list(self.channels):
            channel.close_if_idle()

    def abort_all(self) -> None:
        """Cut every connection off."""
        for channel in list(self.channels):
            channel.forceAbortClient()
