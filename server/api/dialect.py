"""
Define a dialect: how requests for inference are read, and how their answers and errors are written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.python.failure import Failure

from server.call import Call, Calls, RequestOptions
from server.http.error_statuses import error_in, native_error, with_faults
from server.http.messages import HTTPRequest, HTTPResponse
from server.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class Dialect:
    """Defines the meaning of bodies, and the form of errors."""

    #: Returns the call or the calls that a complete request asks for, whose result is the answer.
    #: May raise an error of the request.
    read: Callable[
        [ServedModel, HTTPRequest, RequestOptions], Call[HTTPResponse] | Calls[HTTPResponse]
    ]
    #: Returns the answer for an error, given the request id, and headers to add to its own.
    write_error: Callable[[BaseException | None, str, Mapping[str, str]], HTTPResponse] = (
        native_error
    )

    def answer_error(
        self,
        problem: Failure | Exception,
        request_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Return the answer for *problem*, with *headers* added; a fault is logged with it."""
        answer = self.write_error(error_in(problem), request_id, headers or {})
        return with_faults(answer, [problem])
