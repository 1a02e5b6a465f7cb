"""
Translate errors into HTTP: the only module that decides which error has which status.

Examples: 429 for overload, 504 for a missed deadline, 503 while draining.  See `_STATUSES` and
`refusal_for`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import orjson
from twisted.logger import Logger
from twisted.python.failure import Failure

from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    Overloaded,
    QueueFull,
    RunFailed,
    RunHung,
    ShuttingDown,
)
from model.errors import ModelError, RowsRefused
from model.execution.decode_pool import PoolNotRunning
from model.images.errors import BadImage, SideTooLong, TooManyPixels
from model.signature import FeedError
from server.http.messages import HTTPResponse

_log = Logger()

#: Seconds in the Retry-After header of a request that is refused because the server is busy.
RETRY_AFTER = 1


class HTTPError(Exception):
    """An error answer: its status, its headers, and its message as the client reads it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status, message and headers of an error answer."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, request_id: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        """Return the JSON answer, with *headers* added."""
        body = orjson.dumps(
            {"error": self.message, "status": self.status, "request_id": request_id},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        return HTTPResponse(self.status, body, {**self.headers, **(headers or {})})


_BUSY = {"Retry-After": str(RETRY_AFTER)}

#: The first class that matches decides, so a subclass must precede its base.
_STATUSES: tuple[tuple[type[Exception], int, Mapping[str, str]], ...] = (
    (TooManyPixels, 413, {}),
    (SideTooLong, 413, {}),
    (BadImage, 400, {}),
    (FeedError, 400, {}),
    (QueueFull, 429, _BUSY),
    (DeadlineExceeded, 504, {}),
    (RunHung, 503, _BUSY),
    (ShuttingDown, 503, _BUSY),
    (PoolNotRunning, 503, _BUSY),
    (BatcherError, 500, {}),
    (ModelError, 500, {}),
)


def refusal_for(error: BaseException | None) -> Refusal:
    """Return the refusal for *error*; an unexpected error is a 500 that reveals no internals."""
    if isinstance(error, HTTPError):
        return Refusal(error.status, str(error), error.headers)
    if isinstance(error, RunFailed) and isinstance(error.cause, RowsRefused):
        return Refusal(400, f"the model does not take these values: {error.cause}")
    if isinstance(error, Overloaded):
        later = str(max(RETRY_AFTER, ceil(error.retry_after)))
        return Refusal(429, str(error), {"Retry-After": later})
    for kind, status, headers in _STATUSES:
        if isinstance(error, kind):
            # An engine's error has many lines: after the first comes the stack of the graph.
            return Refusal(status, str(error).partition("\n")[0], headers)
    return Refusal(
        500, "the server failed to answer; the server's log has the reason under this request id"
    )


def is_server_fault(error: BaseException | None) -> bool:
    """Whether *error* is a fault of the server, not of the client; such an error is logged."""
    return refusal_for(error).status in (500, 502)


def error_response(
    problem: Failure | Exception, request_id: str, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the answer for *problem*, with *headers* added; log it if `is_server_fault`."""
    error = problem.value if isinstance(problem, Failure) else problem
    if is_server_fault(error):
        failure = problem if isinstance(problem, Failure) else Failure(problem)
        _log.failure("request {id} failed", failure, id=request_id)
    return refusal_for(error).response(request_id, headers)
