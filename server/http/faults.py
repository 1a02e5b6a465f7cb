"""
Log the errors of the server behind an answer, with what identifies its request.

Called on the reactor thread, once for each answer; server/process/error_bursts.py counts equal
errors that follow each other.
"""

from collections.abc import Iterable

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from server.http.access import trace_fields
from server.http.trace_context import TraceContext

_log = Logger()


def log_faults(
    faults: Iterable[Failure], request_id: str, trace: TraceContext | None, model: str = ""
) -> None:
    """Log each of *faults*; *model* is NAME/VERSION, empty if the request has reached none."""
    about = f"; model {model}" if model else ""
    if trace is not None:
        about += f"; trace {trace.trace_id}"
    fields = trace_fields(request_id, trace, model)
    for fault in faults:
        _log.failure(
            "request {request_id} failed{about}", fault, LogLevel.critical, about=about, **fields
        )
