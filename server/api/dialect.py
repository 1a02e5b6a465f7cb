"""
Answer inference requests in any dialect.

Decides what the answers of all dialects have in common: the model's name and the timing.  A dialect
defines the meaning of bodies and the form of errors.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from server.api.request_options import read_request_options
from server.deadlines import RequestOptions
from server.http.error_statuses import log_server_fault, native_error
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference, Timing

#: Batches that an answer lists: a request of many rows may be split over any number of batches, and
#: clients and proxies refuse a head that is too long.
MAX_LISTED_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Dialect:
    """Defines how the body of a request is read, and how the body of its answer is written."""

    #: Starts the inference for a request.  May raise an error, or return a Deferred that fails.
    infer: Callable[[Inference, HTTPRequest, RequestOptions, Timing], Deferred[Any]]
    #: Returns the result of `infer` as JSON, the body of the answer.
    write: Callable[[Any], bytes]
    #: Returns the answer for an error, given the request id, and headers to add to its own.
    write_error: Callable[[BaseException | None, str, Mapping[str, str]], HTTPResponse] = (
        native_error
    )


class InferenceAPI:
    """The endpoint of inference requests, and the check of a request before its body is read."""

    def __init__(
        self,
        inference: Callable[[], Inference],
        dialect: Dialect,
        *,
        seconds: Callable[[], float],
    ) -> None:
        """
        *inference* returns the `Inference`, or raises `HTTPError` until the model is ready.

        *seconds* returns the time of the monotonic clock, in seconds.
        """
        self._inference = inference
        self._dialect = dialect
        self._seconds = seconds

    def preflight(self, head: Head) -> HTTPResponse | None:
        """
        Return None if the request with *head* is admitted, else the refusal to send.

        Called before the body is read, so that the body of a refused request need not be read.
        """
        headers: dict[str, str] = {}
        try:
            inference = self._inference()
            headers = _model_header(inference)
            inference.admit(read_request_options(head, self._seconds()))
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return self._error_answer(Failure(error), head.request_id, headers)
        return None

    def predict(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Return a Deferred of the answer to *request*; raises `HTTPError` until the model is ready.

        The Deferred fails with `CancelledError` only; every other error becomes an answer.
        """
        inference = self._inference()
        timing = Timing()
        headers = _model_header(inference)

        def infer() -> Deferred[Any]:
            options = read_request_options(request, self._seconds())
            if not request.admitted:  # other requests may have arrived since
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
            return self._error_answer(
                failure, request.request_id, {**headers, **server_timing(timing)}
            )

        result = maybeDeferred(infer)
        request.disconnected.addCallback(lambda _: result.cancel())
        return result.addCallback(answer).addErrback(refuse)

    def _error_answer(
        self, failure: Failure, request_id: str, headers: Mapping[str, str]
    ) -> HTTPResponse:
        log_server_fault(failure, request_id)
        return self._dialect.write_error(failure.value, request_id, headers)


def _model_header(inference: Inference) -> dict[str, str]:
    return {"X-Model-Version": inference.model.full_name}


def server_timing(timing: Timing) -> dict[str, str]:
    """
    Return the Server-Timing header, or no header if nothing was timed.

    Durations are milliseconds.  Each batch that had rows of the request has one ``batch`` entry, up
    to `MAX_LISTED_BATCHES`; if there are more batches, ``batches`` holds the count of all.
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
        *(f'batch;desc="{run.rows}/{run.cap} {run.reason}"' for run in runs[:MAX_LISTED_BATCHES]),
    ]
    if len(runs) > MAX_LISTED_BATCHES:
        entries.append(f'batches;desc="{len(runs)}"')
    return {"Server-Timing": ", ".join(entries)} if entries else {}
