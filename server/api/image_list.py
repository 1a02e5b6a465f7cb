"""
Write the answer to several images of one request: a list with an entry for each of them.

Pure.
"""

from collections.abc import Sequence

import orjson
from twisted.python.failure import Failure

from server.http.error_statuses import Refusal, refusal_for, with_faults
from server.http.messages import HTTPResponse


def list_answer(results: Sequence[HTTPResponse | Failure]) -> HTTPResponse:
    """
    Return the answer to a request of several images, given the answer or the Failure of each.

    The body is a JSON list in the order of the images.  An entry is the body of the answer to the
    image, or ``{"error": "...", "status": ...}`` with the status that the image alone would have.
    The status is 200 if at least one image has an answer; else the largest status of the entries,
    with its headers.
    """
    failures = [result for result in results if isinstance(result, Failure)]
    refusals = [refusal_for(failure.value) for failure in failures]
    written = iter(refusals)
    entries = [
        _error_entry(next(written)) if isinstance(result, Failure) else result.body.rstrip()
        for result in results
    ]
    body = b"[" + b",".join(entries) + b"]\n"
    if len(refusals) < len(results):
        return with_faults(HTTPResponse(200, body), failures)
    worst, failure = max(zip(refusals, failures, strict=True), key=lambda each: each[0].status)
    answer = HTTPResponse(worst.status, body, worst.headers, error=failure.value)
    return with_faults(answer, failures)


def _error_entry(refusal: Refusal) -> bytes:
    return orjson.dumps({"error": refusal.message, "status": refusal.status})
