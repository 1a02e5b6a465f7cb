"""
Read the W3C header `traceparent`, by which a client names the trace that a request belongs to.

Pure.  The server creates no spans: it only shows the ids in its log, so that the lines of a request
are found beside the spans of its client.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Version, trace id, parent id and flags; a later version than 00 may append fields.
_TRACEPARENT = re.compile(
    rb"(?:00|(?!00|ff)(?P<later>[0-9a-f]{2}))-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})"
    rb"-[0-9a-f]{2}(?P<more>-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The ids of a valid `traceparent`: hexadecimal digits in lower case."""

    trace_id: str  #: 32 digits
    span_id: str  #: 16 digits: the client's span, the parent of what the server does


def trace_context(headers: Sequence[bytes] | None) -> TraceContext | None:
    """
    Return the ids in *headers*, the values of all `traceparent` headers of a request.

    None if there is no header, if there are several, or if the only one is invalid.
    """
    if headers is None or len(headers) != 1:
        return None
    found = _TRACEPARENT.fullmatch(headers[0])
    if found is None or (found["more"] is not None and found["later"] is None):
        return None
    trace, parent = found["trace"].decode(), found["parent"].decode()
    if not (trace.strip("0") and parent.strip("0")):  # the ids of no trace and of no span
        return None
    return TraceContext(trace, parent)
