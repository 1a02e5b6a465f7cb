"""
The Klein front end: twisted.web requests to endpoints, answers and errors back.

Importing Klein installs a reactor: import this module after the reactor is chosen.  Everything here
runs on the reactor thread, and under any `twisted.web.server.Site`.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException

from server.errors import HTTPError, Refusal, error_response, refusal_for
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.request import LimitedRequest, fields_of, request_id_in
from server.lifecycle import Lifecycle

if TYPE_CHECKING:
    from klein._app import KleinErrorFunction


class KleinDoor:
    """Builds a Klein app from the table of routes."""

    def __init__(
        self, routes: Iterable[Route], *, clock: IReactorTime, lifecycle: Lifecycle
    ) -> None:
        self._clock = clock
        self._lifecycle = lifecycle
        self.app = Klein()
        for route in routes:
            self._add(route)
        handlers = {HTTPException: self._not_routed, HTTPError: self._refused}
        for kind, handler in handlers.items():
            # Klein types the request as the bare interface; only a Site's requests come here.
            self.app.handle_errors(kind)(cast("KleinErrorFunction", handler))

    def _add(self, route: Route) -> None:
        name = f"{route.method} {route.path}"

        @self.app.route(route.path, methods=[route.method], endpoint=name)
        def view(request: Request) -> Deferred[bytes]:
            incoming = read_request(request, self._clock)
            answer = maybeDeferred(route.endpoint, incoming)
            answer.addErrback(_error_answer, incoming)
            return answer.addCallback(self._write, request, incoming.request_id)

    def _write(self, answer: HTTPResponse, request: Request, request_id: str) -> bytes:
        fields = {
            "Server": "TensorFerry",
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "X-Request-Id": request_id,
            **answer.headers,
        }
        if self._lifecycle.leaving:
            fields["Connection"] = "close"
            request.channel.persistent = False
        if isinstance(request, LimitedRequest):
            request.begin(answer.status, fields)
        else:
            request.setResponseCode(answer.status)
            for name, value in fields.items():
                request.setHeader(name, value)
        return answer.body

    def _refused(self, request: Request, failure: Failure) -> bytes:
        """Answer a request that no endpoint saw."""
        request_id = id_of(request)
        refusal = refusal_for(failure.value)
        return self._write(refusal.response(request_id), request, request_id)

    def _not_routed(self, request: Request, failure: Failure) -> bytes:
        """Answer where no route fits: 404, or 405 with the methods that would."""
        problem = cast("HTTPException", failure.value)
        path = request.path.decode("utf-8", "replace")
        method = request.method.decode("ascii", "replace")
        headers: dict[str, str] = {}
        if problem.code == 405:
            allowed = ", ".join(sorted(getattr(problem, "valid_methods", None) or ()))
            headers["Allow"] = allowed
            message = f"{method} {path}: the methods here are {allowed}"
        else:
            message = f"{method} {path}: {(problem.name or 'not found').lower()}"
        request_id = id_of(request)
        refusal = Refusal(problem.code or 500, message, headers)
        return self._write(refusal.response(request_id), request, request_id)


def _error_answer(failure: Failure, incoming: HTTPRequest) -> HTTPResponse:
    """Return the answer for a failed endpoint; a client's hang-up passes, nobody reads it."""
    if failure.check(CancelledError) and incoming.disconnected.called:
        return failure  # type: ignore[return-value]  # an errback may hand its failure on
    return error_response(failure, incoming.request_id)


def id_of(request: Request) -> str:
    """Return the request's id, under whatever Site it came in."""
    return getattr(request, "request_id", "") or request_id_in(request)


def read_request(request: Request, clock: IReactorTime) -> HTTPRequest:
    """Return *request* as endpoints see it; raises `HTTPError` for a query that is not UTF-8."""
    disconnected: Deferred[None] = Deferred()
    request.notifyFinish().addErrback(lambda _: disconnected.callback(None))
    return HTTPRequest(
        method=request.method.decode("ascii"),
        path=unquote(request.path, errors="replace"),
        query=_decoded_query(request.args),
        headers=getattr(request, "fields", None) or fields_of(request),
        body=cast("BinaryIO", request.content).read(),
        request_id=id_of(request),
        received=getattr(request, "received", 0.0) or clock.seconds(),
        connection=request.channel,
        disconnected=disconnected,
    )


def _decoded_query(args: Mapping[bytes, list[bytes]]) -> dict[str, tuple[str, ...]]:
    try:
        return {k.decode(): tuple(v.decode() for v in values) for k, values in args.items()}
    except UnicodeDecodeError as error:
        raise HTTPError(400, "the query is not UTF-8") from error
