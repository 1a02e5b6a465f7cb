"""
Answer inference requests in any dialect.

Decides what the answers of all dialects have in common: the model's name and the timing.  A dialect
defines the meaning of bodies and the form of errors.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from server.api.request_options import read_request_options
from server.call import Call, RequestOptions, Timing
from server.http.error_statuses import log_server_fault, native_error
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference, ServedModel

#: Batches that an answer lists: a request of many rows may be split over any number of batches, and
#: clients and proxies refuse a head that is too long.
MAX_LISTED_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Dialect:
    """Defines how requests are read, and how the bodies of answers are written."""

    #: Returns the call that a complete request asks for, whose result is the body of the answer.
    #: May raise an error of the request.
    read: Callable[[ServedModel, HTTPRequest, RequestOptions], Call[bytes]]
    #: Returns the answer for an error, given the request id, and headers to add to its own.
    write_error: Callable[[BaseException | None, str, Mapping[str, str]], HTTPResponse] = (
        native_error
    )


class InferenceAPI:
    """The endpoint of inference requests, and the check of a request before its body is read."""

    def __init__(
        self,
        find: Callable[[Head], Inference],
        dialect: Dialect,
        *,
        seconds: Callable[[], float],
    ) -> None:
        """
        *find* returns the `Inference` of the model that a request with this head is for; it raises
        `ModelNotReady` or `UnknownModel`.

        *seconds* returns the time of the monotonic clock, in seconds.
        """
        self._find = find
        self._dialect = dialect
        self._seconds = seconds

    def preflight(self, head: Head) -> HTTPResponse | RequestOptions:
        """
        Return the options of the request with *head* if it is admitted, else the refusal to send.

        Called before the body is read, so that the body of a refused request need not be read.  The
        options become `HTTPRequest.preflighted`.
        """
        headers: dict[str, str] = {}
        try:
            inference = self._find(head)
            headers = _model_header(inference)
            options = read_request_options(head, self._seconds())
            inference.admit(options)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return self.write_error(error, head.request_id, headers)
        return options

    def predict(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Return a Deferred of the answer to *request*; cancelling it cancels the call.

        The Deferred fails with `CancelledError` only; every other error becomes an answer.
        """
        headers: dict[str, str] = {}
        timing = Timing()
        try:
            inference = self._find(request)
            headers = _model_header(inference)
            options = self._admitted_options(inference, request)
            result = inference.run(self._dialect.read(inference.model, request, options), timing)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return succeed(self.write_error(error, request.request_id, headers))
        return result.addCallbacks(
            _answer,
            self._refuse,
            callbackArgs=(headers, timing),
            errbackArgs=(request.request_id, headers, timing),
        )

    def _admitted_options(self, inference: Inference, request: HTTPRequest) -> RequestOptions:
        """
        Return the options of *request*, whose body is complete; raise an error if it is refused.

        The options are those that its preflight has read, if there was one.  Unless the body was
        received together with the head, other requests may have arrived in between.
        """
        now = self._seconds()
        options = request.preflighted
        if not isinstance(options, RequestOptions):
            options = read_request_options(request, now)
        elif options.timeout is None:
            options.since = now  # the time to receive the body depends on the client
        if not request.admitted:
            inference.admit(options)
        return options

    def _refuse(
        self, failure: Failure, request_id: str, headers: Mapping[str, str], timing: Timing
    ) -> HTTPResponse:
        if failure.check(CancelledError):
            failure.raiseException()
        return self.write_error(failure, request_id, {**headers, **server_timing(timing)})

    def write_error(
        self,
        problem: Failure | Exception,
        request_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """
        Return the answer for *problem* in the dialect, with *headers* added.

        If *problem* is a fault of the server, log it.
        """
        log_server_fault(problem, request_id)
        error = problem.value if isinstance(problem, Failure) else problem
        return self._dialect.write_error(error, request_id, headers or {})


def _answer(body: bytes, headers: Mapping[str, str], timing: Timing) -> HTTPResponse:
    return HTTPResponse(200, body, {**headers, **server_timing(timing)})


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
