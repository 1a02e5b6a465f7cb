"""
Calls in both directions between the supervisor and one worker, over a stream socket.

Each message is one JSON object behind its length: a call ``{"id", "call", "argument"}``, an answer
``{"id", "value"}`` or an error ``{"id", "error"}``.  Runs on the reactor thread.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

#: The most bytes of a message: the metrics of some thousand models.
MAX_MESSAGE_BYTES = 64 * 2**20


class ChannelError(Exception):
    """The other process has not answered, or answered with an error; the message has the reason."""


#: Answers a call with a value for JSON, or a Deferred of one; its argument is a value from JSON.
Handler = Callable[[Any], Any]  # Any: JSON


class Channel(Int32StringReceiver):
    """One end of the connection; both ends are the same."""

    MAX_LENGTH = MAX_MESSAGE_BYTES

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        clock: IReactorTime,
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """*handlers* answer the calls of the other end, by name; *on_lost* is called once."""
        self._handlers = handlers
        self._clock = clock
        self._on_lost = on_lost
        self._next_id = 0
        self._calls: dict[int, Deferred[Any]] = {}
        self._lost = False

    def call(self, name: str, argument: object = None, *, timeout: float = 5.0) -> Deferred[Any]:
        """
        Call the handler *name* of the other end; the Deferred fires with its value.

        It fails with `ChannelError` after *timeout* seconds, if the handler fails or its answer is
        no value for JSON, or if the connection is or gets lost.
        """
        self._next_id = number = self._next_id + 1

        def forget(_: Deferred[Any]) -> None:
            self._calls.pop(number, None)

        answer: Deferred[Any] = Deferred(forget)
        self._calls[number] = answer
        if self._lost:
            del self._calls[number]
            answer.errback(Failure(ChannelError(f"{name}: the process has ended")))
            return answer
        self._send({"id": number, "call": name, "argument": argument})
        return answer.addTimeout(timeout, self._clock, lambda *_: _timed_out(name, timeout))

    def stringReceived(self, string: bytes) -> None:
        """Called with each complete message."""
        message = orjson.loads(string)
        if "call" in message:
            answer = maybeDeferred(self._handle, message["call"], message["argument"])
            answer.addCallback(lambda value: self._send({"id": message["id"], "value": value}))
            answer.addErrback(  # also if the value is none for JSON
                lambda failure: self._send({"id": message["id"], "error": _message_of(failure)})
            )
            return
        waiting = self._calls.pop(message["id"], None)
        if waiting is None:
            return  # it has timed out
        if "error" in message:
            waiting.errback(Failure(ChannelError(message["error"])))
        else:
            waiting.callback(message["value"])

    def _handle(self, name: str, argument: Any) -> Any:  # Any: JSON
        handler = self._handlers.get(name)
        if handler is None:
            raise ChannelError(f"no call {name!r}")
        return handler(argument)

    def _send(self, message: Mapping[str, object]) -> None:
        if not self._lost:
            self.sendString(orjson.dumps(message))  # type: ignore[no-untyped-call]  # Twisted's

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Called when the connection is lost: the other process has ended."""
        self._lost = True
        while self._calls:  # the failure of one may cancel others
            _, waiting = self._calls.popitem()
            waiting.errback(Failure(ChannelError("the process has ended")))
        self._on_lost()


def _message_of(failure: Failure) -> str:
    """Return the message for JSON, which has no surrogates: names of files may have them."""
    return failure.getErrorMessage().encode(errors="backslashreplace").decode()


def _timed_out(name: str, timeout: float) -> None:
    raise ChannelError(f"{name}: no answer within {timeout:g} s")
