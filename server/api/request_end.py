"""
Decide by its error how a request for inference has ended: see `server.request_counts`.

Pure.  An error states its kind, and a `Timing` the stage; no status of a dialect is used.
"""

from collections.abc import Mapping

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from batcher.error_kind import ErrorKind, RequestError
from batcher.errors import RefusalError
from server.call import Timing
from server.http.error_statuses import HTTPError
from server.request_counts import End

_INVALID: End = ("failed", "invalid")
_INTERNAL: End = ("failed", "internal")
_NOT_FOUND: End = ("failed", "not_found")

#: The end of a request by the kind of its error; that of DEADLINE_EXCEEDED depends on the stage.
_BY_KIND: Mapping[ErrorKind, End] = {
    ErrorKind.INVALID: _INVALID,
    ErrorKind.NOT_FOUND: _NOT_FOUND,
    ErrorKind.UNSUPPORTED: _INVALID,
    ErrorKind.TOO_LARGE: ("refused", "too_large"),
    ErrorKind.OVERLOADED: ("refused", "full"),
    ErrorKind.UNAVAILABLE: ("refused", "unavailable"),
    ErrorKind.INTERNAL: _INTERNAL,
}

#: The cause of each `RefusalError` by its own.
_CAUSES = {"late": "late", "full": "full", "closed": "stopping", "hung": "hung", "decode": "late"}


def end_of(problem: Failure | BaseException, timing: Timing | None = None) -> End:
    """
    Return the end of a request with *problem*.

    *timing* is that of its call; None: it has made none.
    """
    error = problem.value if isinstance(problem, Failure) else problem
    if isinstance(error, CancelledError):
        return "cancelled", _stage_of(timing)
    if not isinstance(error, RequestError):
        return _by_status(error.status) if isinstance(error, HTTPError) else _INTERNAL
    if error.kind is ErrorKind.DEADLINE_EXCEEDED:
        return "expired", _stage_of(timing)
    if isinstance(error, RefusalError):
        # The batcher also fails requests that it has accepted before.
        accepted = timing is not None and timing.trace.queued is not None
        return "failed" if accepted else "refused", _CAUSES[error.cause]
    return _BY_KIND[error.kind]


def _by_status(status: int) -> End:
    """Return the end of a request with an error that HTTP alone has."""
    if status == 408:
        return "refused", "timeout"
    if status == 404:
        return _NOT_FOUND
    return _INVALID if status < 500 else _INTERNAL


def _stage_of(timing: Timing | None) -> str:
    """Return the stage that the request with this *timing* has reached."""
    if timing is None:
        return "receive"
    if timing.rows == 0:
        return "decode"
    if timing.finishing:
        return "encode"
    return "run" if timing.trace.runs else "queue"
