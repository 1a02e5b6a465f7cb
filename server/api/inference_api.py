"""
The endpoint of requests for inference, in any dialect.

Decides what the answers of all dialects have in common: the model's name and the timing.
Everything here runs on the reactor thread.
"""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from server.api.dialect import Dialect
from server.api.preflight import Admitted, Preflight, model_header
from server.api.request_end import end_of
from server.call import Call, Calls, Timing
from server.http.content_encoding import compressed, only_coding
from server.http.messages import Head, HTTPRequest, HTTPResponse
from server.inference import Inference
from server.request_counts import ANSWERED

#: Batches that an answer lists: a request of many rows may be split over any number of batches, and
#: clients and proxies refuse a head that is too long.
MAX_LISTED_BATCHES = 16

#: The outputs of a compressed answer with more bytes are written on a decode thread: as JSON they
#: have about 20 KiB, which is compressed in 0.3 ms.
MAX_BYTES_COMPRESSED_AT_ONCE = 1 << 12


class InferenceAPI:
    """The endpoint and the preflight of one dialect."""

    def __init__(
        self,
        find: Callable[[Head], Inference],
        dialect: Dialect,
        *,
        seconds: Callable[[], float],
    ) -> None:
        """The arguments are those of `Preflight`."""
        self.preflight = Preflight(find, dialect, seconds=seconds)
        self.write_error = dialect.answer_error
        self._dialect = dialect
        self._seconds = seconds

    def predict(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Return a Deferred of the answer to *request*; cancelling it cancels the call.

        The Deferred fails with `CancelledError` only; every other error becomes an answer.
        """
        checked = request.preflighted if isinstance(request.preflighted, Admitted) else None
        admitted: HTTPResponse | Admitted
        # A version that was replaced while the body arrived takes no more requests.
        if checked is None or checked.inference.retired:
            admitted = self.preflight(request, None if checked is None else checked.counted)
        else:
            admitted = checked
        if isinstance(admitted, HTTPResponse):
            return succeed(admitted)
        inference, options, timing = admitted.inference, admitted.options, Timing()
        if options.timeout is None:
            options.since = self._seconds()  # the time to receive the body depends on the client
        try:
            if admitted is checked and not request.admitted:
                inference.admission.admit(options)  # other requests may have arrived since
            call = self._dialect.read(inference.model, request, options)
            compress_answers(call, request.headers.get("accept-encoding", ""))
            result = inference.run(call, timing)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            inference.statistics.failed()
            admitted.counted.end(end_of(error))
            headers = model_header(inference)
            return succeed(self.write_error(error, request.request_id, headers))
        ended = (request, admitted, timing)
        return result.addCallbacks(
            self._answer, self._refuse, callbackArgs=ended, errbackArgs=ended
        )

    def _answer(
        self, answer: HTTPResponse, request: HTTPRequest, admitted: Admitted, timing: Timing
    ) -> HTTPResponse:
        if answer.error is not None:
            admitted.counted.end(end_of(answer.error, timing))
        else:
            admitted.counted.end(ANSWERED)
            admitted.inference.observe(timing, request.received)
        headers = model_header(admitted.inference)
        fields = {**headers, **server_timing(timing), **answer.headers}
        answer.headers, answer.timing = fields, timing
        return answer

    def _refuse(
        self, failure: Failure, request: HTTPRequest, admitted: Admitted, timing: Timing
    ) -> HTTPResponse:
        admitted.counted.end(end_of(failure, timing))
        if failure.check(CancelledError):
            failure.raiseException()
        fields = {**model_header(admitted.inference), **server_timing(timing)}
        answer = self.write_error(failure, request.request_id, fields)
        answer.timing = timing
        return answer


def compress_answers(call: Call[HTTPResponse] | Calls[HTTPResponse], accepted: str) -> None:
    """Let *call* compress its answer if *accepted*, the client's Accept-Encoding, asks for it."""
    coding = only_coding(accepted)
    if not coding or isinstance(call, Calls):  # of several images: labels, which are short
        return
    finish, takes_long = call.finish, call.takes_long
    call.finish = lambda outputs: compressed(finish(outputs), coding)
    call.takes_long = lambda outputs: (
        takes_long(outputs) or outputs.exceed(MAX_BYTES_COMPRESSED_AT_ONCE)
    )


def server_timing(timing: Timing) -> dict[str, str]:
    """
    Return the Server-Timing header, or no header if nothing was timed.

    Durations are milliseconds.  Each batch that had rows of the request has one ``batch`` entry, up
    to `MAX_LISTED_BATCHES`; if there are more batches, ``batches`` holds the count of all.
    """
    trace, text = timing.trace, ""
    runs = trace.runs
    if timing.decode is not None:
        text += f"decode;dur={timing.decode * 1e3:.3f}, "
    if trace.queued is not None:
        text += f"queue;dur={trace.queued * 1e3:.3f}, "
    ended = [run.seconds for run in runs if run.seconds is not None]
    if ended:
        text += f"run;dur={sum(ended) * 1e3:.3f}, "
    if timing.encode is not None:
        text += f"encode;dur={timing.encode * 1e3:.3f}, "
    for run in runs[:MAX_LISTED_BATCHES]:
        text += f'batch;desc="{run.rows}/{run.cap} {run.reason}", '
    if len(runs) > MAX_LISTED_BATCHES:
        text += f'batches;desc="{len(runs)}", '
    return {"Server-Timing": text[:-2]} if text else {}
