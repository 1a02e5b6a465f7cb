"""
One connection of a client, for any front end: how long it may take, and how it ends.

The protocol that parses its requests, its `Receiver`, reports its events to it and is called by it.
May import neither twisted.web nor Klein; everything here runs on the reactor thread.

Early refusal: the connection sends the answer, closes the sending direction, discards what it
receives for `LINGER_SECONDS`, and then closes.  Without that pause a client that is still sending
would see a reset instead of the answer.  If only a small body remains, its receiver can discard it
and keep the connection.

A client that does not read its answers: the connection receives no further request until the
transport has sent all that was written, and aborts a transport that sends nothing.
"""

from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IAddress

from batcher.timer import DeadlineTimer
from server.http.access import Access
from server.http.connection_limits import MAX_REFUSED_CONNECTIONS, TooMany
from server.http.early_answers import early_access, encode_early
from server.http.error_statuses import HTTPError
from server.http.faults import log_faults
from server.http.messages import HTTPResponse
from server.http.receiver import Receiver
from server.http.transport import can_half_close, write_progress

if TYPE_CHECKING:
    from server.http.connections import Connections

#: Seconds for which a connection discards what it receives after an early refusal.
LINGER_SECONDS = 2.0

#: Seconds after which a connection that closes is aborted if its transport sends nothing.
ABORT_SECONDS = 15.0

#: Longest body, in bytes, of a refused request that is discarded to keep the connection; discarding
#: more costs more than a new connection.
MAX_DISCARDED_BODY_BYTES = 1 << 18


class Connection:
    """One connection of a client."""

    def __init__(self, receiver: Receiver, connections: "Connections") -> None:
        """Start the time in which a head must arrive; see `Connections.accept`."""
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
        #: Whether a request of this connection is in flight.
        self._in_flight = False
        #: Requests so far whose head was complete.
        self._requests = 0
        #: When the present request has begun.
        self._begun = 0.0
        #: The write progress at the last check; None while no progress is required.
        self._last_progress: tuple[int, int] | None = None
        #: When the present time limit ends; inf if there is none.
        self._limit = inf
        self._timer = DeadlineTimer(connections.clock, self._timer_fired)
        self._limits = connections.connection_limits
        now, age = connections.clock.seconds(), self._limits.age_limit(connections.chance())
        #: When the connection is so old that its next answer closes it.
        self._old_from = now + age
        self._limit_until(now + self._limits.header_timeout)

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
            length is not None and length <= MAX_DISCARDED_BODY_BYTES and not self.is_last_answer()
        )

    def is_last_answer(self) -> bool:
        """Whether the present answer is the last one: of an old connection, or during a drain."""
        return (
            self._all.draining()
            or self._requests >= self._limits.max_requests
            or self._all.clock.seconds() >= self._old_from
        )

    # --- events that the receiver reports

    def made(self) -> None:
        """Called when the receiver has this connection: refuse it if too many are open."""
        most = self._limits.max_connections
        excess = len(self._all.open) - most
        if excess <= 0:
            return
        self._all.count_refused()
        if excess > MAX_REFUSED_CONNECTIONS:
            self.closing = True
            self.abort()
        else:
            self._receiver.refuse(TooMany(f"the server has {most} connections, the limit"))

    def request_begins(self) -> None:
        """Called at the first byte of a request: start the time in which its head must arrive."""
        self._begun = self._all.clock.seconds()
        self._limit_until(self._begun + self._head_seconds)

    def head_received(self) -> None:
        """Called when a head is complete: the whole request must arrive within its time."""
        self._requests += 1
        self._in_flight = True
        self._all.in_flight += 1
        self._limit_until(self._begun + self._limits.client_timeout)

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
        self._request_ends()
        if not self.transport_full:
            self._limit_time(self._limits.keep_alive_timeout)

    def _request_ends(self) -> None:
        """Count the request no more; without one in flight do nothing."""
        if self._in_flight:
            self._in_flight = False
            self._all.in_flight -= 1

    def pause(self) -> None:
        """Called when the transport is full: receive nothing more until it has sent all."""
        self._receiver.transport.pauseProducing()
        if not self.transport_full:
            self.transport_full = True
            self._require_progress(self._limits.client_timeout)

    def resume(self) -> None:
        """Called when the transport has sent all: continue with the next request."""
        self.transport_full = False
        self._last_progress = None
        if self._answering:
            self._limit = inf
        elif self._in_flight or self._receiver.has_refused_body():
            self._limit_time(self._limits.client_timeout)
        else:
            self._limit_time(self._limits.keep_alive_timeout)
        self._receiver.resume_receiving()
        self._all.check_quiet()

    def lost(self) -> None:
        """Called when the connection is lost, after its requests are dropped."""
        self._request_ends()
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
        data = encode_early(self._receiver, answer, request_id, self._all.cors)
        self._receiver.transport.write(data)
        self._request_ends()
        self._answered_early(answer, access)

    def refuse(self, answer: HTTPResponse, request_id: str) -> None:
        """Answer the request that is being received with *answer*, discard its rest, and close."""
        if self.discarding:
            return
        access = self._access(answer, request_id)
        data = encode_early(self._receiver, answer, request_id, self._all.cors, closes=True)
        self._close_after_linger(data)
        self._answered_early(answer, access)

    def _access(self, answer: HTTPResponse, request_id: str) -> Access:
        now = self._all.clock.seconds()
        return early_access(self._receiver, answer, request_id, self.peer, now)

    def _answered_early(self, answer: HTTPResponse, access: Access) -> None:
        log_faults(answer.faults, access.request_id, access.trace, access.model)
        self._all.answered(answer.status)
        self._all.log(access)
        self._all.check_quiet()

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
        self._request_ends()
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

    @property
    def _head_seconds(self) -> float:
        return min(self._limits.header_timeout, self._limits.client_timeout)

    def _limit_time(self, seconds: float) -> None:
        """Let the present time limit end after *seconds*."""
        self._limit_until(self._all.clock.seconds() + seconds)

    def _limit_until(self, end: float) -> None:
        """Let the present time limit end at *end*; inf for no limit."""
        self._limit = end
        if end < inf:
            self._timer.set(end)

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
        timeout = self._limits.client_timeout
        if self._last_progress is not None:
            if self._last_progress == write_progress(self._receiver.transport):
                self.abort()
            else:
                self._require_progress(timeout)
        elif self.busy:
            what = "request"
            if not self._in_flight:
                what, timeout = "head of the request", self._head_seconds
            error = HTTPError(408, f"the {what} did not arrive within {timeout:g} seconds")
            self._receiver.refuse(error)
        else:
            self.close()
