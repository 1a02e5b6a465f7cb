"""
Answer inference requests, whatever dialect they are in.

Decides what all answers have in common: the model's name, where the time went, and what an error
looks like.  What bodies mean is the dialect's.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from server.api.request_options import read_request_options
from server.deadlines import RequestOptions
from server.http.errors import error_response
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference, Timing

#: The batches that an answer lists: a request of many rows rides in any number of them, and clients
#: and proxies refuse a head that is too long.
MAX_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the bodies of requests and of their answers mean."""

    #: Begins the inference that a request asks for; it may raise what it could fail with.
    infer: Callable[[Inference, HTTPRequest, RequestOptions, Timing], Deferred[Any]]
    #: Returns what that gave as JSON.
    write: Callable[[Any], bytes]


class InferenceAPI:
    """The endpoint of inference requests, and its preflight."""

    def __init__(
        self,
        inference: Callable[[], Inference],
        dialect: Dialect,
        *,
        seconds: Callable[[], float],
    ) -> None:
        """*inference* raises `HTTPError` while there is none."""
        self._inference = inference
        self._dialect = dialect
        self._seconds = seconds

    def preflight(self, head: Head) -> HTTPResponse | None:
        """Return the answer to a request that is refused before its body is read, else None."""
        headers: dict[str, str] = {}
        try:
            inference = self._inference()
            headers = _model_header(inference)
            inference.admit(read_request_options(head, self._seconds()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
            return error_response(error, head.request_id, headers)
        return None

    def predict(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with what the model makes of *request*."""
        inference = self._inference()
        timing = Timing()
        headers = _model_header(inference)

        def infer() -> Deferred[Any]:
            options = read_request_options(request, self._seconds())
            if not request.admitted:  # while the body came, others did
                inference.admit(options)
            return self._dialect.infer(inference, request, options, timing)

        def answer(result: object) -> HTTPResponse:
            start = self._seconds()
            body = self._dialect.write(result)
            timing.encode = self._seconds() - start
            return HTTPResponse(200, body, {**headers, **server_timing(timing)})

        def refuse(failure: Failure) -> HTTPResponse:
            if failure.check(CancelledError):
                failure.raiseException()
            return error_response(failure, request.request_id, {**headers, **server_timing(timing)})

        result = maybeDeferred(infer)
        request.disconnected.addCallback(lambda _: result.cancel())
        return result.addCallback(answer).addErrback(refuse)


def _model_header(inference: Inference) -> dict[str, str]:
    return {"X-Model-Version": inference.model.full_name}


def server_timing(timing: Timing) -> dict[str, str]:
    """
    Return the Server-Timing header, none where nothing was timed.

    Durations are milliseconds; there is one ``batch`` entry for each batch the request rode in, up
    to `MAX_BATCHES`, and then their number.
    """
    runs = timing.trace.runs
    durations = {
        "decode": timing.decode,
        "queue": timing.trace.queued,
        "run": sum(run.seconds or 0.0 for run in runs) if runs else None,
        "encode": timing.encode,
    }
    entries = [
        *(f"{name};dur={s * 1e3:.3f}" for name, s in durations.items() if s is not None),
        *(f'batch;desc="{run.rows}/{run.cap} {run.reason}"' for run in runs[:MAX_BATCHES]),
    ]
    if len(runs) > MAX_BATCHES:
        entries.append(f'batches;desc="{len(runs)}"')
    return {"Server-Timing": ", ".join(entries)} if entries else {}
