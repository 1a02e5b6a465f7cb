"""
twisted.web's request, with a body that is limited in bytes and held in memory, only once.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from random import getrandbits
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.server import Request

from server.http.access import Access, ascii_text, client_name
from server.http.error_statuses import HTTPError, native_error
from server.http.faults import log_faults
from server.http.head import current_http_date, encode_head, header_fields
from server.http.limits import BodyTooLarge, TooManyBytesHeld
from server.http.messages import Head, HTTPResponse, Preflighted
from server.http.router import Match
from server.http.trace_context import TraceContext, trace_context

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from server.call import Timing
    from server.http.channel import LimitedChannel

_ABSOLUTE = re.compile(rb"^https?://[^/?#]*", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_from(header: str | None) -> str:
    """Return *header*, the client's request id, if it is printable and short, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    # Unique is enough: an id that cannot be guessed would cost a system call.
    return f"{getrandbits(128):032x}"


def header_of(request: Request, name: str) -> str | None:
    """Return the last value of the header *name* of *request*; None if there is none."""
    header = request.getHeader(name.encode())
    return None if header is None else header.decode("latin-1")


def request_id_in(request: Request) -> str:
    """Return the id in the header of *request*, or a new one if there is no valid header."""
    return request_id_from(header_of(request, "x-request-id"))


def trace_context_in(request: Request) -> TraceContext | None:
    """Return the ids in the header traceparent of *request*; None if there is no valid one."""
    return trace_context(request.requestHeaders.getRawHeaders(b"traceparent"))


def decode_headers(request: Request) -> dict[str, str]:
    """Return the headers of *request* as endpoints receive them: see `Head.headers`."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }


class HeldBody(BytesIO):
    """A body in memory, dropped when all of it is read: then the reader has the only copy."""

    def read(self, size: int | None = -1, /) -> bytes:
        """
        Return *size* bytes, and keep the body.

        If *size* is None or negative, return the whole rest of the body and drop the body.
        """
        if size is not None and size >= 0:
            return super().read(size)
        # `getvalue` returns the whole buffer without the copy that `read` would make.
        body = self.getvalue() if self.tell() == 0 else super().read()
        self.drop()
        return body

    def drop(self) -> None:
        """Drop the body."""
        self.seek(0)
        self.truncate()


class LimitedRequest(Request):
    """A request whose body stays in memory and is counted while it is held."""

    channel: "LimitedChannel"
    content: HeldBody | None

    def __init__(self, channel: "LimitedChannel", *args: object, **kwargs: object) -> None:
        super().__init__(channel, *args, **kwargs)
        self.request_id = ""
        self.received = 0.0
        #: When the body was complete, and when the answer was ready; None before.
        self._complete: float | None = None
        self._ready: float | None = None
        #: The match of its route; None if Klein must find the route.
        self.match: Match | None = None
        #: The headers as endpoints receive them, once they have been decoded.
        self.fields: dict[str, str] = {}
        #: Whether it was answered before its body was received.
        self.is_refused = False
        #: Whether its preflight has admitted it, and no further segment has been received since.
        self.admitted = False
        self.preflighted: Any = None  #: see `HTTPRequest.preflighted`
        self._limits = channel.site.connections.limits
        self._seconds = channel.site.connections.clock.seconds
        self._held = 0
        #: The encoded head, to be sent with the body; empty if there is none.
        self._answer_head = b""
        self._answer_fields: Mapping[str, str] = {}
        self._timing: Timing | None = None
        #: Whether the client hung up before the answer.
        self.hung_up = False
        #: The answer that a hang-up cancels; None if Klein cancels it.
        self.pending_answer: Deferred[bytes] | None = None

    def head_received(self, now: float, match: Match | None) -> None:
        """Called when the head is complete, at *now*; *match* is that of its route, if any."""
        self.request_id = request_id_in(self)
        self.received = now
        self.match = match
        cors = self.channel.site.connections.cors
        if cors is not None:  # all answers that are not early begin with these fields
            for name, value in cors.fields(header_of(self, "origin")).items():
                self.setHeader(name, value)

    def preflight(
        self, method: bytes, path: bytes, refusal: Exception | None = None
    ) -> HTTPResponse | None:
        """
        Call the preflight of the route, if any; return its refusal, or None to go on.

        *method* and *path* are as sent, without the query.  *refusal* is that of `Head`.
        """
        match = self.match
        if match is None or match.route.preflight is None:
            return None
        self.fields = decode_headers(self)
        head = Head(
            method=method.decode("ascii"),
            path=unquote(path.decode("ascii"), errors="replace"),
            rest=match.rest,
            headers=self.fields,
            request_id=self.request_id,
            received=self.received,
            connection=self.channel,
            refusal=refusal,
        )
        outcome = match.route.preflight(head)
        if isinstance(outcome, HTTPResponse):
            return outcome
        self.preflighted, self.admitted = outcome, True
        return None

    def end_early(self, error: BaseException | None) -> None:
        """Report the end of this request without an answer of its endpoint; see `Preflighted`."""
        if isinstance(self.preflighted, Preflighted):
            self.preflighted.end_early(error)

    def gotLength(self, length: int | None) -> None:
        """
        Called with the declared length in bytes: prepare for a body in memory.

        twisted.web itself would write a large body to a file.
        """
        self.content = HeldBody()

    def handleContentChunk(self, data: bytes) -> None:
        """Called with a part of the body; refuse the request if the body exceeds a limit."""
        if self.is_refused:
            return  # one segment of data may contain more chunks after the refusal
        try:
            self._limits.hold(self._held, len(data))
        except (BodyTooLarge, TooManyBytesHeld) as error:
            self.channel.refuse(error)
        else:
            self._held += len(data)
            super().handleContentChunk(data)

    def mark_refused(self) -> None:
        """Record the refusal, drop the body, and ignore the rest of it."""
        self.is_refused = True
        self._release()
        if self.content is not None:
            self.content.drop()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Called when the request is complete: process it.

        Scheme and host, which clients send to proxies, are removed from *path*.
        """
        if self.is_refused:
            self.channel.requestDone(self)
            return
        self._complete = self._seconds()
        target = _ABSOLUTE.sub(b"", path)
        super().requestReceived(
            command, target if target == path else _with_leading_slash(target), version
        )

    def process(self) -> None:
        """Answer by the route, or else by twisted.web; refuse a path that is not UTF-8."""
        if self.match is not None:
            self._render_route()
            return
        # Not all answers come from an endpoint: twisted.web itself answers `OPTIONS *`.
        self.setHeader("X-Request-Id", self.request_id)
        try:
            unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            self.channel.refuse(HTTPError(400, "the path is not UTF-8"))
        else:
            super().process()

    def _render_route(self) -> None:
        """Render the site's only resource directly, without twisted.web's lookup of a child."""
        self.site = self.channel.site
        self.prepath, self.postpath = [], self.path[1:].split(b"/")
        try:
            self.render(self.site.resource)
        except Exception:  # noqa: BLE001  # any error becomes an answer
            self.processingFailed(Failure())

    def getRequestHostname(self) -> bytes:
        """Return a fixed name: the Host header selects nothing here, and may be malformed."""
        return b"localhost"

    def access(self) -> Access:
        """Return the entry for the access log, once this request is answered."""
        return Access(
            client=client_name(self.client),
            method=ascii_text(self.method),
            uri=ascii_text(self.uri),
            status=self.code,
            sent=self.sentLength,
            request_id=self.request_id,
            server_timing=self._answer_fields.get("Server-Timing", ""),
            model=self._answer_fields.get("X-Model-Version", ""),
            trace=trace_context_in(self),
            timing=self._timing,
            received=self._since_head(self._complete),
            ready=self._since_head(self._ready),
            whole=self._since_head(self._seconds()),
        )

    def _since_head(self, moment: float | None) -> float | None:
        """Return the seconds from the complete head to *moment*, if it is known."""
        return None if moment is None else moment - self.received

    def begin_answer(
        self, status: int, fields: Mapping[str, str], timing: "Timing | None" = None
    ) -> None:
        """
        Encode the head of the answer with *fields*; the next `write` sends it with the whole body.

        *timing* is that of a request for inference, for the log.

        Called by the front end on the reactor thread, before it writes the body.  Raises
        `UnicodeEncodeError` for a field that cannot be encoded; then the answer has not begun.  If
        the client has hung up, `write` drops the head.
        """
        own = {
            name.decode("latin-1"): values[-1].decode(errors="replace")
            for name, values in self.responseHeaders.getAllRawHeaders()
        }
        own["Date"] = current_http_date()
        # Encoded here, not in `write`: only an error of the front end becomes an answer.
        self._answer_head = encode_head(status, {**own, **fields}, self.clientproto)
        self.setResponseCode(status)
        self._answer_fields, self._timing, self._ready = fields, timing, self._seconds()

    def write(self, data: bytes) -> None:
        """Send a part of the body, or after `begin_answer` the head and the whole body."""
        head, self._answer_head = self._answer_head, b""
        if not head or self.hung_up:
            super().write(data)
            return
        if self.method == b"HEAD" or self.code in NO_BODY_CODES:
            data = b""
        message = head + data  # raises before the answer has begun if *data* is no bytes
        self.startedWriting = 1
        self.sentLength = len(data)
        self.channel.write(message)

    def processingFailed(self, reason: Failure) -> Failure:
        """Log *reason*, and answer 500; called for every failure that has become no answer."""
        self.end_early(reason.value)
        if self.startedWriting:
            super().processingFailed(reason)
            return reason
        model = self._answer_fields.get("X-Model-Version", "")
        log_faults([reason], self.request_id, trace_context_in(self), model)
        answer = native_error(None, self.request_id)
        self.begin_answer(answer.status, header_fields(answer, {"X-Request-Id": self.request_id}))
        self.write(answer.body)
        self.finish()
        return reason

    def send_body(self, body: bytes) -> None:
        """Write *body* and end the answer, unless the client has hung up."""
        if not self.hung_up:
            self.write(body)
            self.finish()

    def finish(self) -> None:
        """End the answer, and stop counting the bytes of the body."""
        self._release()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Called when the client hangs up: cancel the answer."""
        self._release()
        self.hung_up = True
        super().connectionLost(reason)
        if self.pending_answer is not None:
            self.pending_answer.cancel()
        self.end_early(None)

    def _release(self) -> None:
        self._limits.release(self._held)
        self._held = 0


def _with_leading_slash(target: bytes) -> bytes:
    """Return *target*, with a slash before it unless it has one: `http://host?query` has none."""
    return target if target.startswith(b"/") else b"/" + target
