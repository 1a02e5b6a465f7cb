"""
Translate errors into HTTP.

An error states its kind (batcher/error_kind.py); here are the statuses and the form of answers in
which the native dialect reports the kinds.  Another dialect has a table of its own, from which
`refusal_for` makes its answers, too.  Only what HTTP alone knows is an `HTTPError` with a status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import orjson
from twisted.python.failure import Failure

from batcher.error_kind import ErrorKind, RequestError
from server.http.messages import HTTPResponse

#: Seconds in the Retry-After header of a request that is refused because the server is busy.
RETRY_AFTER = 1

#: The status of each kind of errors in the native dialect.
NATIVE_STATUSES: Mapping[ErrorKind, int] = {
    ErrorKind.INVALID: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.UNSUPPORTED: 415,
    ErrorKind.OVERLOADED: 429,
    ErrorKind.INTERNAL: 500,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.DEADLINE_EXCEEDED: 504,
}


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
        """Return the answer in the native dialect, JSON, with *headers* added."""
        body = orjson.dumps(
            {"error": self.message, "status": self.status, "request_id": request_id},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        return HTTPResponse(self.status, body, {**self.headers, **(headers or {})})


def refusal_for(
    error: BaseException | None, statuses: Mapping[ErrorKind, int] = NATIVE_STATUSES
) -> Refusal:
    """
    Return the refusal for *error*, with the status of its kind in *statuses*.

    An unexpected error has the status of INTERNAL, and its message reveals no internals.
    """
    if isinstance(error, HTTPError):
        return Refusal(error.status, str(error), error.headers)
    if not isinstance(error, RequestError):
        return Refusal(
            statuses[ErrorKind.INTERNAL],
            "the server failed to answer; the server's log has the reason under this request id",
        )
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(RETRY_AFTER, ceil(error.retry_after)))
    # An engine's error has many lines: after the first comes the stack of the graph.
    return Refusal(statuses[error.kind], str(error).partition("\n")[0], headers)


def is_server_fault(error: BaseException | None) -> bool:
    """Whether *error* is a fault of the server, not of the client; such an error is logged."""
    if isinstance(error, HTTPError):
        return error.status in (500, 502)
    return not isinstance(error, RequestError) or error.kind is ErrorKind.INTERNAL


def error_in(problem: Failure | Exception) -> BaseException | None:
    """Return the error itself, for a Failure or an error."""
    return problem.value if isinstance(problem, Failure) else problem


def with_faults(answer: HTTPResponse, problems: Sequence[Failure | Exception]) -> HTTPResponse:
    """Return *answer* with those of *problems* that are faults of the server, to be logged."""
    faults = [
        problem if isinstance(problem, Failure) else Failure(problem)
        for problem in problems
        if is_server_fault(error_in(problem))
    ]
    return replace(answer, faults=faults) if faults else answer


def native_error(
    error: BaseException | None, request_id: str, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the answer for *error* in the native dialect, with *headers* added."""
    return refusal_for(error).response(request_id, headers)


def error_response(
    problem: Failure | Exception, request_id: str, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the `native_error` for *problem*, which is logged if `is_server_fault`."""
    return with_faults(native_error(error_in(problem), request_id, headers), [problem])
