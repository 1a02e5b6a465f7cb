"""
Calls of etcd's JSON gateway: one of its servers at a time, the next one if that does not answer.

Runs on the reactor thread.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import orjson
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http_headers import Headers

from server.discovery.cancelling import ended_when_cancelled
from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import EngineURL, join_host_port
from server.discovery.engines.etcd_messages import UNAVAILABLE, Message, Refused, read
from server.discovery.engines.http_requests import NO_ANSWER, body_of, cause_of

T = TypeVar("T")

#: The most bytes of a line: the answer to a read of all workers is one.
MAX_LINE_BYTES = 256 * 2**20


class Stream(Protocol):
    """
    The lines of an answer's body.

    `ended` fires at the end of the body; it fails with what *on_line* raises, or with
    `EngineError` if the connection is lost or a line has more than *max_line* bytes.  Cancelling it
    closes the connection.
    """

    def __init__(self, on_line: Callable[[bytes], object], max_line: int = MAX_LINE_BYTES) -> None:
        self._on_line = on_line
        self._max_line = max_line
        #: Of a line whose end has not been received; joined once, as a line may have many parts.
        self._parts: list[bytes] = []
        self._bytes = 0
        self.ended: Deferred[None] = Deferred(lambda _: self._close())

    def dataReceived(self, data: bytes) -> None:
        """Called with a part of the body."""
        first, *others = data.split(b"\n")
        self._add(first)
        for part in others:
            self._pass_on(self._taken())
            self._add(part)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called at the end of the body, and when the connection is lost."""
        if reason.check(ResponseDone):
            self._pass_on(self._taken())
        if self.ended.called:
            return
        if reason.check(ResponseDone):
            self.ended.callback(None)
        else:
            self.ended.errback(EngineError(_reason_of(reason.value)))

    def _add(self, part: bytes) -> None:
        if self.ended.called:
            return
        self._parts.append(part)
        self._bytes += len(part)
        if self._bytes > self._max_line:
            self.ended.errback(EngineError(f"etcd: a line has more than {self._max_line} bytes"))
            self._close()

    def _taken(self) -> bytes:
        parts, self._parts, self._bytes = self._parts, [], 0
        return b"".join(parts)

    def _pass_on(self, line: bytes) -> None:
        if not line or self.ended.called:
            return
        try:
            self._on_line(line)
        except Exception:  # noqa: BLE001 - whatever it is, the stream fails with it
            self.ended.errback(Failure())
            self._close()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class EtcdClient:
    """Keeps its connections to the servers of one etcd."""

    def __init__(self, url: EngineURL, reactor: Any) -> None:  # Any: TCP and timers
        self._url = url
        self._reactor = reactor
        #: Each server gets its part of the time for a call.
        self._timeout = CALL_TIMEOUT / len(url.hosts)
        self._pool = HTTPConnectionPool(reactor)
        self._http = HTTPClient(Agent(reactor, connectTimeout=self._timeout, pool=self._pool))
        #: The index of the server that calls go to.
        self.server = 0
        self._token: str | None = None

    async def call(self, name: str, body: Message) -> Message:
        """
        Return the answer to *body* of the call *name*, a path below ``/v3/``.

        Raises `Refused` if it is an error, and `EngineError` if no server answers in time.
        """
        if self._token is not None:
            try:
                return await self._in_turn(name, body)
            except Refused as refused:
                if not refused.is_about_credentials:
                    raise
        if self._url.user:
            self._token = None
            credentials = {"name": self._url.user, "password": self._url.password}
            answer = await self._in_turn("auth/authenticate", credentials)
            self._token = answer["token"]
        return await self._in_turn(name, body)

    async def stream(
        self, name: str, body: Message, on_message: Callable[[Message], object]
    ) -> Stream:
        """
        Begin a call that answers with a stream; *on_message* gets each message.

        It goes to the server of the last call, with its credentials.  Raises `EngineError` if
        the stream does not begin in time.
        """
        opening = self._open(name, body, lambda line: on_message(read(line)))
        try:
            return await self._in_time(opening)
        except NO_ANSWER as failed:
            raise EngineError(_reason_of(failed)) from failed

    def close(self) -> Deferred[None]:
        """Close the connections that are kept; streams are closed by cancelling them."""
        closed: Deferred[None] = self._pool.closeCachedConnections().addCallback(lambda _: None)
        return closed

    async def _in_turn(self, name: str, body: Message) -> Message:
        """Call the servers until one of them answers, beginning with the last that did."""
        reason = ""
        for _ in self._url.hosts:
            try:
                return await self._in_time(self._exchange(name, body))
            except (EngineError, *NO_ANSWER) as failed:
                if isinstance(failed, Refused) and failed.code != UNAVAILABLE:
                    raise
                reason = _reason_of(failed)
            self.server = (self.server + 1) % len(self._url.hosts)
        raise EngineError(reason)

    def _in_time(self, call: Coroutine[Any, Any, T]) -> Deferred[T]:  # Any: what it awaits
        running = ended_when_cancelled(Deferred.fromCoroutine(call))
        return running.addTimeout(self._timeout, self._reactor)

    async def _exchange(self, name: str, body: Message) -> Message:
        lines: list[bytes] = []
        stream = await self._open(name, body, lines.append)
        await stream.ended
        return read(b"".join(lines))

    async def _open(self, name: str, body: Message, on_line: Callable[[bytes], object]) -> Stream:
        place = join_host_port(*self._url.hosts[self.server])
        headers = Headers({"Content-Type": ["application/json"]})
        if self._token is not None:
            headers.setRawHeaders("Authorization", [self._token])
        response = await self._http.post(
            f"http://{place}/v3/{name}",
            data=body_of(orjson.dumps(body), self._reactor),
            headers=headers,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        stream = Stream(on_line)
        response.deliverBody(stream)
        return stream


def _reason_of(failed: BaseException | None) -> str:
    """Return *failed* in one line."""
    failed = cause_of(failed)
    if isinstance(failed, defer.TimeoutError):
        return "etcd: no answer in time"
    return str(failed) if isinstance(failed, EngineError) else f"etcd: {failed}"
