"""
The kinds of errors with which a request can end.

The code that raises an error knows its kind; a dialect has one table from kinds to its own
statuses, and knows no class of errors.  Imports nothing of ours.
"""

from enum import Enum


class ErrorKind(Enum):
    """What a client, or an operator, can do about an error."""

    INVALID = "invalid"  #: the request is wrong: correct it
    NOT_FOUND = "not found"  #: the request names something that is not served
    TOO_LARGE = "too large"  #: the request exceeds a limit of the server: send less
    UNSUPPORTED = "unsupported"  #: the request has a form that the server does not read
    OVERLOADED = "overloaded"  #: the server is too busy: send the request later
    DEADLINE_EXCEEDED = "deadline exceeded"  #: the answer would be too late: allow more time
    UNAVAILABLE = "unavailable"  #: the server starts, stops or hangs: ask another server
    INTERNAL = "internal"  #: the model or the server is at fault: read the server's log


class RequestError(Exception):
    """Base of the errors with which a request can end; clients read the first line of its text."""

    #: Set by each class, or by the constructor.
    kind: ErrorKind = ErrorKind.INTERNAL
    #: Seconds after which the same request may succeed; 0.0: soon; None: no advice.
    retry_after: float | None = None
