"""
What the requests to registries over HTTP have in common: the bodies of both sides, and the errors.

Runs on the reactor thread.
"""

from functools import partial
from io import BytesIO

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import (
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss, _DataLoss
from twisted.web.iweb import IResponse

#: A server cannot be reached, or does not answer in time, or not completely.
NO_ANSWER = (
    ConnectError,
    ConnectionClosed,
    DeferredTimeout,
    OSError,  # the lookup of a name
    RequestTransmissionFailed,
    ResponseFailed,
)


def cause_of(failed: BaseException | None) -> BaseException | None:
    """Return what made the request fail; a body that ends too early is a closed connection."""
    if isinstance(failed, (RequestTransmissionFailed, ResponseFailed)):
        failed = failed.reasons[-1].value
    if isinstance(failed, _DataLoss):
        return ConnectionError("the connection was closed")
    return failed


def body_of(content: bytes, reactor: IReactorTime) -> FileBodyProducer:
    """Return the body of a request; by default it would take its turns on the global reactor."""
    turns = Cooperator(scheduler=partial(reactor.callLater, 0.0))
    return FileBodyProducer(BytesIO(content), turns)


def read_content(answer: IResponse) -> Deferred[bytes]:
    """
    Return the body of *answer*; cancelling the Deferred closes the connection.

    Fails with one of `NO_ANSWER` if the connection is lost before the end.
    """
    body = _Body()
    answer.deliverBody(body)
    return body.content


class _Body(Protocol):
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.content: Deferred[bytes] = Deferred(lambda _: self._close())

    def dataReceived(self, data: bytes) -> None:
        """Called with a part of the body."""
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called at the end of the body, and when the connection is lost."""
        if self.content.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.content.callback(b"".join(self._parts))
        else:
            self.content.errback(reason)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
