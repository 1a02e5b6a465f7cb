"""
The statuses and the form of errors in the v2 protocol: ``{"error": "..."}``.
"""

from collections.abc import Mapping

import orjson

from batcher.error_kind import ErrorKind
from server.http.error_statuses import NATIVE_STATUSES, refusal_for
from server.http.messages import HTTPResponse

#: The status of each kind of errors: a client of this protocol retries after 503, not after 429.
STATUSES: Mapping[ErrorKind, int] = {**NATIVE_STATUSES, ErrorKind.OVERLOADED: 503}


def v2_error(
    error: BaseException | None, _: str, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the answer for *error*, with *headers* added."""
    refusal = refusal_for(error, STATUSES)
    body = orjson.dumps({"error": refusal.message})
    return HTTPResponse(refusal.status, body, {**refusal.headers, **(headers or {})})
