"""
A connection that speaks HTTP/1.1, on any of Twisted's stream transports.

It finds heads and bodies in what it receives, and passes one request after the other to the site:
requests that a client sends ahead wait until the one before them is answered, so that answers are
in order.  Each event is reported to a `Connection`, which limits its time.  Runs on the reactor
thread.
"""

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from server.http.access import UNKNOWN, ascii_text, client_name
from server.http.chunked_body import ChunkedBody
from server.http.connection import Connection
from server.http.error_statuses import HTTPError
from server.http.exchange import Exchange, request_id_from
from server.http.limits import BodyTooLarge, TooManyBytesHeld
from server.http.messages import HTTPResponse
from server.http.request_head import (
    RequestHead,
    head_end,
    origin_in,
    parse_head,
    request_line_in,
)
from server.http.router import Match, error_writer
from server.http.trace_context import TraceContext
from server.http.transport import send_now

if TYPE_CHECKING:
    from server.http.connections import Connections
    from server.http.site import HTTPSite

_log = Logger()

#: Bytes that are read ahead of a request that is being answered.
MAX_AHEAD_BYTES = 1 << 16

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LINE_ENDS = re.compile(rb"(?:\r\n)*")
_TLS_HELLO = b"\x16\x03"


@implementer(IPushProducer)
class HTTP1Channel(Protocol):
    """One connection of a client; it is the `Receiver` of its `Connection`."""

    transport: Any  # Any: see `Receiver`
    connection: Connection

    def __init__(self, site: "HTTPSite") -> None:
        self.site = site
        self.connections: Connections = site.connections
        self._buffer = b""  # received, and not yet parsed
        self._checked = 0  # bytes of the buffer that are known to begin a head
        self._exchange: Exchange | None = None
        self._chunks: ChunkedBody | None = None
        self._missing = 0  # bytes of the body of that exchange
        self._parsing = False
        self._is_ahead = False  # whether the transport is paused, because too much waits
        #: The last head as received, its meaning, and its route: clients repeat their heads.
        self._last: tuple[bytes, RequestHead, Match | None] | None = None

    # --- the methods of a Receiver

    def has_request(self) -> bool:
        """Whether a request is being received or answered; a refused one does not count."""
        if self._exchange is not None:
            return not self._exchange.is_refused
        return bool(self._checked)

    def has_refused_body(self) -> bool:
        """Whether the rest of the body of a refused request is being discarded."""
        return self._exchange is not None and self._exchange.is_refused

    def request_line(self) -> tuple[str, str]:
        """Return method and target of the request that is being received, or `UNKNOWN`."""
        if self._exchange is not None:
            return self._exchange.head.method, self._exchange.head.target
        found = request_line_in(self._buffer)
        return (UNKNOWN, UNKNOWN) if found is None else (ascii_text(found[0]), ascii_text(found[1]))

    def head_facts(self) -> tuple[float | None, TraceContext | None]:
        """Return when the head of that request was complete, None before, and its trace."""
        if self._exchange is None:
            return None, None
        return self._exchange.request.received, self._exchange.head.trace

    def origin(self) -> str | None:
        """Return the Origin header of the request that is being received, if it has one."""
        if self._exchange is None:
            return origin_in(self._buffer)
        return self._exchange.head.headers.get("origin")

    def refuse(self, error: Exception) -> None:
        """Answer the request that is being received with *error*, discard its rest, and close."""
        exchange = self._exchange
        if exchange is None:
            answer_id = request_id_from(None)
            answer = error_writer(None)(error, answer_id)
        else:
            exchange.end_early(error)
            answer_id, answer = exchange.request.request_id, exchange.error_answer(error)
        self.connection.refuse(answer, answer_id)

    def drop_requests(self) -> None:
        """Drop all requests and their bodies: the connection discards what it receives."""
        self._buffer, self._checked = b"", 0
        if self._exchange is not None:
            self._exchange.refuse()

    def resume_receiving(self) -> None:
        """Receive and parse again."""
        self._is_ahead = False
        self.transport.resumeProducing()
        self._parse()

    # --- events of the transport

    def connectionMade(self) -> None:
        """Called when the connection is made."""
        self.transport.registerProducer(self, True)
        self.connection = self.connections.accept(self)
        self.connection.made()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost: cancel the request that is being answered."""
        exchange, self._exchange = self._exchange, None
        self._buffer = b""
        if exchange is not None and not exchange.is_refused:
            exchange.hang_up()
        self.connection.lost()

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes."""
        if not self.connection.accepts_data:
            return
        if self._exchange is not None:
            self._exchange.request.admitted = False
        self._buffer = self._buffer + data if self._buffer else data
        self._parse()

    def pauseProducing(self) -> None:
        """Called when the transport is full."""
        self.connection.pause()

    def resumeProducing(self) -> None:
        """Called when the transport has sent all."""
        self.connection.resume()

    def stopProducing(self) -> None:
        """Called when the connection is lost; `connectionLost` follows."""

    # --- parsing

    def _parse(self) -> None:
        """Parse what was received, as far as the requests before it are answered."""
        if self._parsing:
            return  # called by an answer, inside the loop below
        self._parsing = True
        try:
            while self._buffer and self.connection.accepts_data and self._next():
                pass
        finally:
            self._parsing = False

    def _next(self) -> bool:
        """Parse a head, or a part of a body; return whether to go on."""
        exchange = self._exchange
        try:
            if exchange is None:
                return not self.connection.transport_full and self._parse_head()
            if not exchange.is_received:
                return self._parse_body(exchange)
        except (HTTPError, BodyTooLarge, TooManyBytesHeld) as error:
            self.refuse(error)
        else:
            if len(self._buffer) > MAX_AHEAD_BYTES and not self._is_ahead:
                self._is_ahead = True
                self.transport.pauseProducing()
        return False

    def _parse_head(self) -> bool:
        data, limits = self._buffer, self.site.head_limits
        if not self._checked:
            if data[0] in b"\r\n":
                ends = _LINE_ENDS.match(data)
                data = self._buffer = data[ends.end() if ends else 0 :]
                if data in (b"", b"\r"):
                    return False  # a line end belongs to no request
            self.connection.request_begins()
            if data.startswith(_TLS_HELLO):
                self._close_tls()
                return False
        end = head_end(data, self._checked, limits)
        if end < 0:
            self._checked = len(data)
            return False
        whole = data[:end]
        last = self._last
        if last is None or last[0] != whole:
            head = parse_head(whole, limits)
            match = self.site.router.match(head.method.encode(), head.raw_path)
            last = self._last = (whole, head, match)
        self._buffer, self._checked = data[end:], 0
        self._head_received(last[1], last[2])
        return True

    def _close_tls(self) -> None:
        """Close: no answer in plain text would be understood."""
        peer = client_name(self.connection.peer)
        _log.warn("{peer} tries to use TLS, but this address takes plain HTTP", peer=peer)
        self._buffer = b""
        self.connection.close()

    def _head_received(self, head: RequestHead, match: Match | None) -> None:
        """
        Begin a request: check its length, and call its preflight.

        If either refuses the request, answer it before its body has been received; a preflight of
        CORS as well.
        """
        exchange = self._exchange = Exchange(self, head, match)
        refusal = self._cors_preflight(head) or self._too_many_refusal(exchange)
        self.connection.head_received()
        try:
            self.connections.limits.check_length(head.length)
        except BodyTooLarge as error:
            exchange.preflight(error)
            self.refuse(error)
            return
        refusal = refusal or exchange.preflight()
        self._missing = head.length or 0
        self._chunks = ChunkedBody() if head.length is None else None
        if refusal is not None:
            if self._can_keep_connection(head):
                exchange.refuse()
                self.connection.answer_early(refusal, exchange.request.request_id)
            else:
                self.connection.refuse(refusal, exchange.request.request_id)
                return
        elif head.expects_continue and head.length != 0 and not self._buffer:
            self.transport.write(CONTINUE)
        if head.length == 0:
            self._body_received(exchange)

    def _too_many_refusal(self, exchange: Exchange) -> HTTPResponse | None:
        """Return the refusal of a request if too many are in flight."""
        error = self.connections.refusal(exchange.head.method)
        if error is None:
            return None
        answer = exchange.preflight(error)
        if answer is None:
            exchange.end_early(error)
            answer = exchange.error_answer(error)
        return answer

    def _cors_preflight(self, head: RequestHead) -> HTTPResponse | None:
        """Return the answer to a request that is a preflight of CORS, and permitted."""
        cors = self.connections.cors
        if cors is None:
            return None
        asked_method = head.headers.get("access-control-request-method")
        return cors.preflight_answer(head.method, head.headers.get("origin"), asked_method)

    def _can_keep_connection(self, head: RequestHead) -> bool:
        """Whether to keep the connection by discarding the body of a refused request."""
        # After an Expect header, the client may send either the body or the next request.
        return (
            self.connection.can_discard(head.length)
            and "expect" not in head.headers
            and head.keeps_connection
        )

    def _parse_body(self, exchange: Exchange) -> bool:
        data = self._buffer
        if self._chunks is not None:
            self._buffer = b""
            for part in self._chunks.decode(data):
                exchange.body.add(part)
            if self._chunks.rest is None:
                return False
            self._buffer = self._chunks.rest
        else:
            part = data[: self._missing]
            self._missing -= len(part)
            self._buffer = data[len(part) :]
            if not exchange.is_refused:
                exchange.body.add(part)
            if self._missing:
                return False
        self._body_received(exchange)
        return True

    def _body_received(self, exchange: Exchange) -> None:
        if exchange.is_refused:
            self.exchange_ended(closes=False)
        else:
            self.connection.request_received()
            exchange.received()
            self.site.answer(exchange)

    # --- answers

    def send(self, data: bytes) -> None:
        """
        Send *data*; at once if the transport has nothing else to send.

        That saves a turn of the reactor.
        """
        rest = send_now(self.transport, data)
        if rest:
            self.transport.write(rest)

    def exchange_ended(self, *, closes: bool) -> None:
        """Called when a request is answered: close, or continue with the next request."""
        self._exchange = self._chunks = None
        self.connection.request_answered()
        if closes:
            self.connection.close()
        elif self._is_ahead and not self.connection.transport_full:
            self.resume_receiving()
        else:
            self._parse()
        self.connections.check_quiet()
