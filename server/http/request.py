"""
twisted.web's request, with a body that is bounded, held in memory, and held once.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from random import getrandbits
from time import time  # noqa: TID251  # the date of an answer is the wall clock's
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.server import Request

from server.http.access import Access, ascii_text, client_name
from server.http.errors import HTTPError
from server.http.head import SERVER_NAME, encode_head, http_date
from server.http.limits import BodyLimits
from server.http.messages import Head

_ABSOLUTE = re.compile(rb"^https?://[^/?#]*", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_from(header: str | None) -> str:
    """Return the client's own request id where it is printable and short, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    # Unique is enough: what cannot be guessed costs a call of the kernel.
    return f"{getrandbits(128):032x}"


def request_id_in(request: Request) -> str:
    """Return the id of *request* from its header, whatever bytes that has, or a new one."""
    header = request.getHeader(b"x-request-id")
    return request_id_from(None if header is None else header.decode("latin-1"))


def current_http_date() -> str:
    """Return the date of an answer that is given now."""
    return http_date(int(time()))


def decode_headers(request: Request) -> dict[str, str]:
    """Return the headers of *request* as endpoints see them."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }


class HeldBody(BytesIO):
    """A body that is kept until it is read as a whole: then its reader has the only copy."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return *size* bytes, or all that is left and forget everything."""
        if size is not None and size >= 0:
            return super().read(size)
        # Taken whole, the bytes are handed over; `read` would copy them.
        body = self.getvalue() if self.tell() == 0 else super().read()
        self.drop()
        return body

    def drop(self) -> None:
        """Forget everything."""
        self.seek(0)
        self.truncate()


class LimitedConnection(Protocol):
    """What a request needs of the connection it comes through, beside what twisted.web needs."""

    site: Any  #: twisted.web's, which knows the routes

    @property
    def limits(self) -> BodyLimits:
        """What bodies may take."""

    def refuse(self, error: HTTPError) -> None:
        """Answer with *error* now, and close."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def requestDone(self, request: Request) -> None:
        """Go on with the next request, or close."""


class LimitedRequest(Request):
    """A request whose body stays in memory and is counted while it is held."""

    channel: LimitedConnection  # type: ignore[assignment]  # an HTTPChannel of that kind
    content: HeldBody | None

    def __init__(self, channel: LimitedConnection, *args: object, **kwargs: object) -> None:
        super().__init__(channel, *args, **kwargs)
        self.request_id = ""
        self.received = 0.0
        #: The headers as endpoints see them, once somebody has looked.
        self.fields: dict[str, str] = {}
        #: Whether it was answered before its body came.
        self.is_refused = False
        #: Whether its preflight has let it in, and nothing has happened since.
        self.admitted = False
        self._limits = channel.limits
        self._held = 0
        #: A head that goes out with the body; empty where there is none.
        self._answer_head = b""
        self._timing = ""
        #: Fires when the client hangs up before the answer.
        self.disconnected: Deferred[None] = Deferred()

    def head_received(self, now: float) -> None:
        """Note the id and the time of arrival, once all headers have come."""
        self.request_id = request_id_in(self)
        self.received = now

    def head(self, method: bytes, path: bytes) -> Head:
        """Return what is known now; *method* and *path* are those of a route."""
        self.fields = decode_headers(self)
        return Head(
            method=method.decode("ascii"),
            path=path.decode("ascii"),
            headers=self.fields,
            request_id=self.request_id,
            received=self.received,
            connection=self.channel,
        )

    def gotLength(self, length: int | None) -> None:
        """Prepare for the body; twisted.web's own way would put a photo into a file."""
        self.content = HeldBody()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, or refuse the request."""
        if self.is_refused:
            return  # one segment may hold many chunks
        try:
            self._limits.hold(self._held, len(data))
        except HTTPError as error:
            self.channel.refuse(error)
        else:
            self._held += len(data)
            super().handleContentChunk(data)

    def mark_refused(self) -> None:
        """Note the refusal; drop the body, and ignore the rest of it."""
        self.is_refused = True
        self._release()
        if self.content is not None:
            self.content.drop()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Take the whole request; a target with scheme and host, as proxies get it, has a path."""
        if self.is_refused:
            self.channel.requestDone(self)
            return
        target = _ABSOLUTE.sub(b"", path)
        super().requestReceived(
            command, target if target == path else _with_leading_slash(target), version
        )

    def process(self) -> None:
        """Find who answers; a path that is no text is nobody's."""
        if self.channel.site.router.match(self.method, self.path) is not None:
            self._render_route()
            return
        # Not every answer comes from an endpoint: that to `OPTIONS *` is twisted.web's own.
        self.setHeader("X-Request-Id", self.request_id)
        try:
            unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            self.channel.refuse(HTTPError(400, "the path is not UTF-8"))
        else:
            super().process()

    def _render_route(self) -> None:
        """Have the one resource answer; what twisted.web finds out first, it knows of a route."""
        self.site = self.channel.site
        self.prepath, self.postpath = [], self.path[1:].split(b"/")
        try:
            self.render(self.site.resource)
        except Exception:  # noqa: BLE001  # whatever it is: the client hears of it
            self.processingFailed(Failure())

    def getRequestHostname(self) -> bytes:
        """Return a name; what the client calls this host routes nothing, and may be no name."""
        return b"localhost"

    def access(self) -> Access:
        """Return what the access log is told of this request, once it is answered."""
        return Access(
            client=client_name(self.client),
            method=ascii_text(self.method),
            uri=ascii_text(self.uri),
            status=self.code,
            sent=self.sentLength,
            request_id=self.request_id,
            timing=self._timing,
        )

    def begin_answer(self, status: int, fields: Mapping[str, str]) -> None:
        """
        Have the answer begin with a head of *fields*; the next `write` is all of its body.

        The door calls this on the reactor thread, before it hands the body on.  Where a field
        cannot be encoded, that raises `UnicodeEncodeError`, and nothing has begun.  After a hang-up
        the head is dropped by that `write`, or with the request if there is none.
        """
        own = {
            name.decode("latin-1"): values[-1].decode(errors="replace")
            for name, values in self.responseHeaders.getAllRawHeaders()
        }
        own["Date"] = current_http_date()
        # Built here, and not where it is written: only the door's errors become answers.
        self._answer_head = encode_head(status, {**own, **fields}, self.clientproto)
        self.setResponseCode(status)
        self._timing = fields.get("Server-Timing", "")

    def write(self, data: bytes) -> None:
        """Send a part of the body, or all of it with its head."""
        head, self._answer_head = self._answer_head, b""
        if not head or self.disconnected.called:
            super().write(data)
            return
        if self.method == b"HEAD" or self.code in NO_BODY_CODES:
            data = b""
        message = head + data  # where the body is no bytes, nothing has begun
        self.startedWriting = 1
        self.sentLength = len(data)
        self.channel.write(message)

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500, with the fields that all answers have; whoever finds a failure calls this."""
        if not self.startedWriting:
            self._answer_head, self._timing = b"", ""
            self.setHeader("X-Request-Id", self.request_id)
            self.setHeader("Server", SERVER_NAME)
            self.setHeader("Date", current_http_date())
        super().processingFailed(reason)
        return reason

    def send_body(self, body: bytes) -> None:
        """Write *body* and end the answer, unless the client is gone."""
        if not self.disconnected.called:
            self.write(body)
            self.finish()

    def finish(self) -> None:
        """End the answer."""
        self._release()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Hear that the client is gone."""
        self._release()
        super().connectionLost(reason)
        self.disconnected.callback(None)

    def _release(self) -> None:
        self._limits.release(self._held)
        self._held = 0


def _with_leading_slash(target: bytes) -> bytes:
    """Return *target* with the slash that a URL may leave out before its query."""
    return target if target.startswith(b"/") else b"/" + target
