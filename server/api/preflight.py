"""
Decide by the head of a request for inference: which model it is for, and whether it is admitted.

Runs on the reactor thread, before the body is read, so that the body of a refused request need not
be read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import CancelledError

from server.api.dialect import Dialect
from server.api.request_end import end_of
from server.api.request_options import read_request_options
from server.call import RequestOptions
from server.http.messages import Head, HTTPResponse
from server.inference import Inference
from server.models import NotServed
from server.request_counts import CountedRequest


@dataclass(slots=True)
class Admitted:
    """What the head of an admitted request has decided; it becomes `HTTPRequest.preflighted`."""

    inference: Inference
    options: RequestOptions
    counted: CountedRequest

    def end_early(self, error: BaseException | None) -> None:
        """Count the end of a request that its endpoint has not ended; see `Preflighted`."""
        self.counted.end(end_of(CancelledError() if error is None else error))


class Preflight:
    """The `server.http.messages.Preflight` of requests for inference in one dialect."""

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

    def __call__(
        self, head: Head, counted: CountedRequest | None = None
    ) -> HTTPResponse | Admitted:
        """
        Return what the request with *head* asks for if it is admitted, else the refusal.

        The request counts as received by its model, unless it is *counted* already.
        """
        inference: Inference | None = None
        try:
            inference = self._find(head)
            counted = counted or inference.requests.receive()
            options = self._options(head)
            inference.admission.admit(options)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            headers = None
            if inference is not None:
                headers = model_header(inference)
                inference.statistics.failed()
            elif isinstance(error, NotServed) and error.requests is not None:
                counted = counted or error.requests.receive()
            if counted is not None:
                counted.end(end_of(error))
            return self._dialect.answer_error(error, head.request_id, headers)
        return Admitted(inference, options, counted)

    def _options(self, head: Head) -> RequestOptions:
        """Return the options in *head*; raises the error with which it is refused."""
        if head.refusal is not None:
            raise head.refusal
        return read_request_options(head, self._seconds())


def model_header(inference: Inference) -> dict[str, str]:
    """Return the header that names the model of *inference*."""
    return {"X-Model-Version": inference.model.full_name}
