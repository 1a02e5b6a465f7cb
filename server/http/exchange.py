"""
One request and its answer, from the complete head until the answer is sent.

Independent of what answers it: an endpoint directly, or Klein.  May import neither twisted.web nor
Klein; everything here runs on the reactor thread.
"""

import re
from random import getrandbits
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from server.http.access import Access, client_name
from server.http.connection import Connection
from server.http.connections import Connections
from server.http.error_statuses import HTTPError, native_error
from server.http.faults import log_faults
from server.http.head import current_http_date, encode_head, header_fields
from server.http.held_body import HeldBody
from server.http.messages import HTTPRequest, HTTPResponse, Preflighted, Route
from server.http.options import path_options
from server.http.request_head import RequestHead
from server.http.router import Match, error_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.call import Timing

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

#: The statuses whose answers have no body.
NO_BODY_STATUSES = (204, 304)

#: A body above this size, in bytes, is not copied behind its head, but sent by itself.
MAX_JOINED_BYTES = 1 << 16


def request_id_from(header: str | None) -> str:
    """Return *header*, the client's request id, if it is printable and short, else a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header
    # Unique is enough: an id that cannot be guessed would cost a system call.
    return f"{getrandbits(128):032x}"


class Channel(Protocol):
    """What an `Exchange` needs of its connection: `server.http.channel.HTTP1Channel`."""

    connection: Connection
    connections: Connections
    transport: Any  # Any: a transport of any kind

    def send(self, data: bytes) -> None:
        """Send *data*, at once if possible."""

    def exchange_ended(self, *, closes: bool) -> None:
        """Called when the answer is sent; with *closes* it was the last one of the connection."""


class Exchange:
    """A request whose head is complete, and its answer."""

    __slots__ = (
        "_answer_fields",
        "_complete",
        "_ready",
        "_sent",
        "_status",
        "_timing",
        "body",
        "channel",
        "closes",
        "head",
        "hung_up",
        "is_received",
        "is_refused",
        "match",
        "on_hang_up",
        "pending",
        "request",
    )

    def __init__(self, channel: Channel, head: RequestHead, match: Match | None) -> None:
        self.channel = channel
        self.head = head
        self.match = match
        self.request = HTTPRequest(
            method=head.method,
            path=head.path,
            rest="" if match is None else match.rest,
            headers=head.headers,
            request_id=request_id_from(head.headers.get("x-request-id")),
            received=channel.connections.clock.seconds(),
            connection=channel.connection,
            query={},
            body=b"",
        )
        self.body = HeldBody(channel.connections.limits)
        #: Whether it was answered before its body was received.
        self.is_refused = False
        #: Whether its body is complete.
        self.is_received = False
        #: Whether the client hung up before the answer was sent.
        self.hung_up = False
        #: Whether the connection closes after the answer.
        self.closes = not head.keeps_connection
        #: The answer that a hang-up cancels.
        self.pending: Deferred[Any] | None = None  # Any: only cancelled
        #: Called when the client hangs up, if Klein answers.
        self.on_hang_up: Callable[[], object] | None = None
        self._complete: float | None = None
        self._ready: float | None = None
        self._status = 0
        self._sent = 0
        self._answer_fields: Mapping[str, str] = {}
        self._timing: Timing | None = None

    # --- before the answer

    def preflight(self, refusal: Exception | None = None) -> HTTPResponse | None:
        """
        Call the preflight of the route, if any; return its refusal, or None to go on.

        *refusal* is that of `Head`.
        """
        if self.match is None or self.match.route.preflight is None:
            return None
        request = self.request
        request.refusal = refusal
        outcome = self.match.route.preflight(request)
        if isinstance(outcome, HTTPResponse):
            return path_options(self.head.method, outcome)
        request.preflighted, request.admitted = outcome, True
        return None

    def refuse(self) -> None:
        """Record that it is answered before its body was received; drop the body."""
        self.is_refused = True
        self.body.release()

    def received(self) -> None:
        """Called when the body is complete: the request can be answered."""
        self.is_received = True
        self._complete = self._seconds()
        self.request.body = self.body.take()

    def error_answer(self, error: Failure | Exception) -> HTTPResponse:
        """Return the answer to *error*, in the form of the route."""
        match = self.match
        return error_writer(None if match is None else match.route)(error, self.request.request_id)

    def end_early(self, error: BaseException | None) -> None:
        """Report the end of this request without an answer of its endpoint; see `Preflighted`."""
        preflighted = self.request.preflighted
        if isinstance(preflighted, Preflighted):
            preflighted.end_early(error)

    # --- the answer

    def call(self, route: Route) -> "Deferred[HTTPResponse]":
        """
        Return a Deferred of the answer of *route*, which also answers errors.

        It fails only if the client has hung up.
        """
        try:
            self.request.query = self.head.query
            answer = route.endpoint(self.request)
        except Exception:  # noqa: BLE001 - any error becomes an answer
            answer = Deferred()
            answer.errback(Failure())
        return answer.addErrback(self._error_answer)

    def _error_answer(self, failure: Failure) -> HTTPResponse:
        if self.hung_up and failure.check(CancelledError):
            failure.raiseException()
        error = failure.value
        self.end_early(error)
        problem = error if isinstance(error, HTTPError) else failure
        return path_options(self.head.method, self.error_answer(problem))

    def answer_from(self, route: Route) -> None:
        """Answer by the endpoint of *route*."""
        answer = self.call(route)
        self.pending = answer
        answer.addCallback(self.answer).addErrback(self.failed)

    def answer(self, answer: HTTPResponse) -> None:
        """Send *answer*, unless the client has hung up."""
        if self.hung_up:
            return
        fields = self.begin_answer(answer)
        head = encode_head(answer.status, fields)
        body = answer.body
        if self.head.method == "HEAD" or answer.status in NO_BODY_STATUSES:
            body = b""
        self.write(head, body)
        self.end()

    def begin_answer(self, answer: HTTPResponse) -> dict[str, str]:
        """
        Record *answer*, log its faults, and return the fields of its head.

        Called once for each answer, before it is written.
        """
        connections, request_id = self.channel.connections, self.request.request_id
        if answer.faults:
            model = answer.headers.get("X-Model-Version", "")
            log_faults(answer.faults, request_id, self.head.trace, model)
        more = {"X-Request-Id": request_id, "Date": current_http_date()}
        if connections.cors is not None:
            more |= connections.cors.fields(self.head.headers.get("origin"))
        if self.channel.connection.is_last_answer():
            self.closes = True
        if self.closes:
            more["Connection"] = "close"
        elif self.head.version == "HTTP/1.0":
            more["Connection"] = "keep-alive"
        fields = header_fields(answer, more)
        self._status = answer.status
        self._answer_fields, self._timing, self._ready = fields, answer.timing, self._seconds()
        return fields

    def write(self, head: bytes, body: bytes) -> None:
        """Send *head* and *body*, parts of the answer; the first call sends the head."""
        if len(body) > MAX_JOINED_BYTES:
            if head:
                self.channel.send(head)
            self.channel.send(body)
        else:
            self.channel.send(head + body)  # raises if *body* is no bytes, before anything is sent
        self._sent += len(body)

    def end(self) -> None:
        """Called when the whole answer is written."""
        self.pending = None
        self.body.release()
        connections = self.channel.connections
        connections.answered(self._status)
        if connections.access_log is not None:  # collecting an entry costs time
            connections.log(self.access())
        self.channel.exchange_ended(closes=self.closes)

    def failed(self, failure: Failure) -> None:
        """Answer with a 500, because the answer could not be written."""
        answer = self.answer_to_failure(failure)
        if answer is not None:
            self.answer(answer)

    def answer_to_failure(self, failure: Failure) -> HTTPResponse | None:
        """
        Log *failure*, which has become no answer, and return the answer 500.

        If the client has hung up, return None, and do not log that its answer was cancelled.
        """
        request_id, trace = self.request.request_id, self.head.trace
        if self.hung_up:
            if not failure.check(CancelledError):
                log_faults([failure], request_id, trace)
            return None
        self.end_early(failure.value)
        log_faults([failure], request_id, trace, self._answer_fields.get("X-Model-Version", ""))
        return native_error(None, request_id)

    def hang_up(self) -> None:
        """Called when the connection is lost before the answer is sent: cancel the answer."""
        self.hung_up = True
        self.body.release()
        if self.pending is not None:
            self.pending.cancel()
        if self.on_hang_up is not None:
            self.on_hang_up()
        self.end_early(None)

    # --- the log

    def access(self) -> Access:
        """Return the entry for the access log, once the answer is written."""
        return Access(
            client=client_name(self.channel.connection.peer),
            method=self.head.method,
            uri=self.head.target,
            status=self._status,
            sent=self._sent,
            request_id=self.request.request_id,
            server_timing=self._answer_fields.get("Server-Timing", ""),
            model=self._answer_fields.get("X-Model-Version", ""),
            trace=self.head.trace,
            timing=self._timing,
            received=self._since_head(self._complete),
            ready=self._since_head(self._ready),
            whole=self._since_head(self._seconds()),
        )

    def _seconds(self) -> float:
        return self.channel.connections.clock.seconds()

    def _since_head(self, moment: float | None) -> float | None:
        """Return the seconds from the complete head to *moment*, if it is known."""
        return None if moment is None else moment - self.request.received
