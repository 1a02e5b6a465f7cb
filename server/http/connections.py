"""
The connections of one server, for any front end: how long each may take, and how it ends.

`Connections` has what all of them share; `Connection` is the state of one.  The protocol that
parses its requests, its `Receiver`, reports its events to it and is called by it.  May import
neither twisted.web nor Klein; everything here runs on the reactor thread.

Early refusal: the connection sends the answer, closes the sending direction, discards what it
receives for `LINGER_SECONDS`, and then closes.  Without that pause a client that is still sending
would see a reset instead of the answer.  If only a small body remains, its receiver can discard it
and keep the connection.

A client that does not read its answers: the connection receives no further request until the
transport has sent all that was written, and aborts a transport that sends nothing.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger

from batcher.timer import DeadlineTimer
from server.http.access import Access, AccessLog, client_name
from server.http.cors import Cors
from server.http.error_statuses import HTTPError
from server.http.faults import log_faults
from server.http.head import current_http_date, encode_head, header_fields
from server.http.limits import BodyLimits
from server.http.messages import HTTPResponse
from server.http.trace_context import TraceContext
from server.http.transport import can_half_close, write_progress

_log = Logger()

#: Seconds for which a connection discards what it receives after an early refusal.
LINGER_SECONDS = 2.0

#: Seconds after which a connection that closes is aborted if its transport sends nothing.
ABORT_SECONDS = 15.0

#: Longest body, in bytes, of a refused request that is discarded to keep the connection; discarding
#: more costs more than a new connection.
MAX_DISCARDED_BODY_BYTES = 1 << 18


class Receiver(Protocol):
    """What a `Connection` needs of the protocol that parses its requests."""

    transport: Any  # Any: TCP can close one direction, TLS cannot

    def has_request(self) -> bool:
        """Whether a request is being received or answered; a refused one does not count."""

    def has_refused_body(self) -> bool:
        """Whether the rest of the body of a refused request is being discarded."""

    def request_line(self) -> tuple[str, str]:
        """Return method and target of the request that is being received, or `UNKNOWN`."""

    def head_facts(self) -> tuple[float | None, TraceContext | None]:
        """Return when the head of that request was complete, None before, and its trace."""

    def origin(self) -> str | None:
        """Return the Origin header of the request that is being received, if it has one."""

    def refuse(self, error: Exception) -> None:
        """Answer the request that is being received with *error*, by `Connection.refuse`."""

    def drop_requests(self) -> None:
        """Drop all requests and their bodies: the connection discards what it receives."""

    def resume_receiving(self) -> None:
        """Receive and parse again, after `Connection.pause`."""


class Connections:
    """All connections of one server: their limits, their access log, and how they are drained."""

    def __init__(
        self,
        *,
        limits: BodyLimits,
        client_timeout: float,
        clock: IReactorTime,
        access_log: AccessLog | None = None,
        draining: Callable[[], bool] = bool,
        cors: Cors | None = None,
    ) -> None:
        """
        *client_timeout* is how long, in seconds, a request may take to arrive and an idle
        connection stays open.  *draining* returns whether the server drains.  *cors* has the
        origins whose pages may read the answers; None: there are none.
        """
        self.limits = limits
        self.client_timeout = client_timeout
        self.clock = clock
        self.access_log = access_log
        self.draining = draining
        self.cors = cors
        self.open: set[Connection] = set()
        #: Connections accepted so far.
        self.accepted = 0
        #: Answers so far, by status.
        self.answers: dict[int, int] = {}
        self._waiting_for_quiet: list[Deferred[None]] = []

    def accept(self, receiver: Receiver) -> "Connection":
        """Return the new connection of *receiver*, which is idle; called when it is made."""
        connection = Connection(receiver, self)
        self.accepted += 1
        self.open.add(connection)
        return connection

    def answered(self, status: int) -> None:
        """Count an answer, early or not; called once for each, when it has been written."""
        self.answers[status] = self.answers.get(status, 0) + 1

    def log(self, access: Access) -> None:
        """Write *access* to the access log; an error is logged, and the answer is still sent."""
        if self.access_log is None:
            return
        try:
            self.access_log(access)
        except Exception:  # noqa: BLE001  # no error of the log may break an answer
            _log.failure("the access log failed")

    def check_quiet(self) -> None:
        """Fire the Deferreds of `when_quiet` if no connection is busy."""
        if self._waiting_for_quiet and not self.busy:
            waiting, self._waiting_for_quiet = self._waiting_for_quiet, []
            for quiet in waiting:
                quiet.callback(None)

    @property
    def busy(self) -> bool:
        """Whether any connection receives or answers a request."""
        return any(connection.busy for connection in self.open)

    def when_quiet(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection receives or answers a request."""
        quiet: Deferred[None] = Deferred()
        self._waiting_for_quiet.append(quiet)
        self.check_quiet()
        return quiet

    def close_idle(self) -> None:
        """Close the connections that are not busy."""
        for connection in list(self.open):
            connection.close_if_idle()

    def abort_all(self) -> None:
        """Abort every connection."""
        for connection in list(self.open):
            connection.abort()


class Connection:
    """One connection of a client."""

    def __init__(self, receiver: Receiver, connections: Connections) -> None:
        """Start the time for which the connection may be idle; see `Connections.accept`."""
        self._receiver = receiver
        self._all = connections
        self._peer: IAddress | None = None
        #: Whether what is received is discarded, after an early refusal.
        self.discarding = False
        #: Whether the connection closes when all that was written is sent.
        self.closing = False
        #: Whether the transport has more to send than it buffers.
        self.transport_full = False
        self._answering = False
        #: The write progress at the last check; None while no progress is required.
        self._last_progress: tuple[int, int] | None = None
        #: When the present time limit ends; inf if there is none.
        self._limit = inf
        self._timer = DeadlineTimer(connections.clock, self._timer_fired)
        self._limit_time(connections.client_timeout)

    # --- state

    @property
    def peer(self) -> IAddress:
        """The address of the client; behind a proxy it is known once a request begins."""
        if self._peer is None:
            self._peer = self._receiver.transport.getPeer()
        return self._peer

    @property
    def host(self) -> IAddress:
        """The local address of the connection."""
        host: IAddress = self._receiver.transport.getHost()
        return host

    @property
    def accepts_data(self) -> bool:
        """Whether what is received is parsed; if not, it is to be dropped."""
        return not (self.discarding or self.closing)

    @property
    def busy(self) -> bool:
        """
        Whether a request is being received or answered, or the transport has more to send.

        False if only the body of a refused request remains, which is discarded.
        """
        return not self.discarding and (self.transport_full or self._receiver.has_request())

    def can_discard(self, length: int | None) -> bool:
        """Whether to keep the connection by discarding a body of *length* bytes; None: unknown."""
        return (
            length is not None and length <= MAX_DISCARDED_BODY_BYTES and not self._all.draining()
        )

    # --- events that the receiver reports

    def request_begins(self) -> None:
        """Called at the first byte of a request: start the time in which it must arrive."""
        self._limit_time(self._all.client_timeout)

    def request_received(self) -> None:
        """Called when a request is complete: its answer may take any time."""
        self._answering = True
        if not self.transport_full:  # else the client must read the answers before it
            self._limit = inf

    def request_answered(self) -> None:
        """
        Called when a request is answered, before the next one is parsed: start the idle time.

        Afterwards the receiver must call `Connections.check_quiet`.
        """
        self._answering = False
        if not self.transport_full:
            self._limit_time(self._all.client_timeout)

    def pause(self) -> None:
        """Called when the transport is full: receive nothing more until it has sent all."""
        self._receiver.transport.pauseProducing()
        if not self.transport_full:
            self.transport_full = True
            self._require_progress(self._all.client_timeout)

    def resume(self) -> None:
        """Called when the transport has sent all: continue with the next request."""
        self.transport_full = False
        self._last_progress = None
        self._limit_time(inf if self._answering else self._all.client_timeout)
        self._receiver.resume_receiving()
        self._all.check_quiet()

    def lost(self) -> None:
        """Called when the connection is lost, after its requests are dropped."""
        self._timer.set(inf)
        self._all.open.discard(self)
        self._all.check_quiet()

    # --- early answers

    def answer_early(self, answer: HTTPResponse, request_id: str) -> None:
        """
        Answer the request that is being received with *answer*, and keep the connection.

        The receiver has marked the request as refused, and discards its body.
        """
        access = self._access(answer, request_id)
        self._receiver.transport.write(self._encoded(answer, self._early_fields(request_id)))
        log_faults(answer.faults, request_id, access.trace, access.model)
        self._all.answered(answer.status)
        self._all.log(access)
        self._all.check_quiet()

    def refuse(self, answer: HTTPResponse, request_id: str) -> None:
        """Answer the request that is being received with *answer*, discard its rest, and close."""
        if self.discarding:
            return
        access = self._access(answer, request_id)
        fields = {**self._early_fields(request_id), "Connection": "close"}
        self._close_after_linger(self._encoded(answer, fields))
        log_faults(answer.faults, request_id, access.trace, access.model)
        self._all.answered(answer.status)
        self._all.log(access)
        self._all.check_quiet()

    def _encoded(self, answer: HTTPResponse, fields: Mapping[str, str]) -> bytes:
        """Return *answer* with *fields*; that to HEAD has no body."""
        head = encode_head(answer.status, header_fields(answer, fields))
        method, _ = self._receiver.request_line()
        return head if method == "HEAD" else head + answer.body

    def _early_fields(self, request_id: str) -> dict[str, str]:
        fields = {"X-Request-Id": request_id, "Date": current_http_date()}
        if self._all.cors is not None:
            fields.update(self._all.cors.fields(self._receiver.origin()))
        return fields

    def _access(self, answer: HTTPResponse, request_id: str) -> Access:
        method, uri = self._receiver.request_line()
        head, trace = self._receiver.head_facts()
        whole = None if head is None else self._all.clock.seconds() - head
        return Access(
            client=client_name(self.peer),
            method=method,
            uri=uri,
            status=answer.status,
            sent=len(answer.body),
            request_id=request_id,
            server_timing=answer.headers.get("Server-Timing", ""),
            model=answer.headers.get("X-Model-Version", ""),
            trace=trace,
            ready=whole,
            whole=whole,
        )

    # --- ends

    def close(self) -> None:
        """
        Close when all that was written is sent.

        Abort if the transport sends nothing for `ABORT_SECONDS`.
        """
        transport = self._receiver.transport
        if not self.closing:
            self.closing = True
            self._require_progress(ABORT_SECONDS)
        # A producer delays every close until it has written all, and this one writes no more.
        transport.unregisterProducer()
        transport.loseConnection()

    def close_if_idle(self) -> None:
        """
        Close unless busy.

        After an early refusal that closes the connection, do nothing: it closes after its linger.
        """
        if self.busy or self.discarding:
            return
        if self._receiver.has_refused_body():
            self._close_after_linger(b"")
        else:
            self.close()

    def _close_after_linger(self, last: bytes) -> None:
        """Write *last*, drop all requests, discard what is received for a while, and close."""
        transport = self._receiver.transport
        self.discarding = True
        self._last_progress = None
        self._limit_time(LINGER_SECONDS)
        self._receiver.drop_requests()
        # A paused producer would delay every close, even that of one direction.
        transport.unregisterProducer()
        transport.write(last)
        if can_half_close(transport):
            transport.loseWriteConnection()

    def abort(self) -> None:
        """Abort the connection: what was written and is not sent is dropped."""
        self._receiver.transport.abortConnection()

    # --- time

    def _limit_time(self, seconds: float) -> None:
        """Let the present time limit end after *seconds*; inf for no limit."""
        self._limit = self._all.clock.seconds() + seconds
        if self._limit < inf:
            self._timer.set(self._limit)

    def _require_progress(self, seconds: float) -> None:
        """
        Require the transport to send something within *seconds*.

        When they are over, the same is required for the next `client_timeout` seconds.
        """
        self._last_progress = write_progress(self._receiver.transport)
        self._limit_time(seconds)

    def _timer_fired(self) -> None:
        """Called at the end of the time limit or earlier."""
        if self._all.clock.seconds() < self._limit:
            self._timer.set(self._limit)
        else:
            self._limit = inf
            self._time_is_up()

    def _time_is_up(self) -> None:
        """
        Called at the end of the time limit.

        If the transport must send something: abort if it has sent nothing since the limit was set,
        else set the limit again.  If it need not: answer 408 if a request is incomplete, else
        close.
        """
        timeout = self._all.client_timeout
        if self._last_progress is not None:
            if self._last_progress == write_progress(self._receiver.transport):
                self.abort()
            else:
                self._require_progress(timeout)
        elif self.busy:
            error = HTTPError(408, f"the request did not arrive within {timeout:g} seconds")
            self._receiver.refuse(error)
        else:
            self.close()
