"""
The Klein front end: passes twisted.web requests to endpoints, and writes answers and errors.

Importing Klein installs a reactor: import this module after the reactor is chosen.  Everything here
runs on the reactor thread, and under any `twisted.web.server.Site`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import HTTPException

from server.http.error_statuses import HTTPError, Refusal, error_response, refusal_for
from server.http.head import header_fields, reason_phrase
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.request import LimitedRequest, decode_headers, request_id_in
from server.http.router import Router
from server.lifecycle import Lifecycle

if TYPE_CHECKING:
    from klein._app import KleinErrorFunction

_log = Logger()


class LiteralRoutes(KleinResource):
    """
    Klein's resource, except that it searches the `Router` first, which is faster than Klein.

    Each view of the app must return a Deferred of the answer's body, and cancel this Deferred when
    the client hangs up.
    """

    def __init__(self, app: Klein, router: Router) -> None:
        super().__init__(app)
        self._router = router

    def render(self, request: Request) -> Any:  # type: ignore[override]  # only a Site calls it
        """
        Answer *request* by its route.

        If no route matches, or if the Site is not ours, Klein answers it.
        """
        route = self._router.match(request.method, request.path)
        if route is None or not isinstance(request, LimitedRequest):
            return super().render(request)
        answer = cast("Deferred[bytes]", self._app.execute_endpoint(route.name, request))
        answer.addCallback(request.send_body)
        answer.addErrback(_handle_unanswered, request)
        return NOT_DONE_YET


def _handle_unanswered(failure: Failure, request: LimitedRequest) -> None:
    """
    Answer *request* with a 500.

    If its answer has begun or its client has hung up, only log *failure*.

    The cancellation after a hang-up is not logged.
    """
    gone = request.disconnected.called
    if not (gone or request.startedWriting):
        request.processingFailed(failure)
    elif not (gone and failure.check(CancelledError)):
        _log.failure("request {id} was not answered", failure, id=request.request_id)


class KleinFrontend:
    """Builds a Klein app from the routes of *router*."""

    def __init__(self, router: Router, *, clock: IReactorTime, lifecycle: Lifecycle) -> None:
        self._clock = clock
        self._lifecycle = lifecycle
        self._router = router
        self._app = Klein()
        for route in router.routes:
            self._add(route)
        # Klein types the request as the bare interface; every request here is one of a Site.
        handler = cast("KleinErrorFunction", self._answer_not_routed)
        self._app.handle_errors(HTTPException)(handler)

    def resource(self) -> KleinResource:
        """Return the resource to use as the root of a Site."""
        return LiteralRoutes(self._app, self._router)

    def _add(self, route: Route) -> None:
        @self._app.route(route.path, methods=[route.method], endpoint=route.name)
        def view(request: Request) -> Deferred[bytes]:
            try:
                incoming = read_request(request, self._clock)
            except HTTPError as error:
                return succeed(self._refuse(request, error))
            answer = maybeDeferred(route.endpoint, incoming)
            incoming.disconnected.addCallback(lambda _: answer.cancel())
            answer.addErrback(_error_answer, incoming)
            return answer.addCallback(self._write, request, incoming.request_id)

    def _write(self, answer: HTTPResponse, request: Request, request_id: str) -> bytes:
        fields = header_fields(answer, {"X-Request-Id": request_id})
        if self._lifecycle.leaving:
            fields["Connection"] = "close"
            request.channel.persistent = False
        if isinstance(request, LimitedRequest):
            request.begin_answer(answer.status, fields)
        else:
            request.setResponseCode(answer.status, reason_phrase(answer.status))
            for name, value in fields.items():
                request.setHeader(name, value)
        return answer.body

    def _refuse(self, request: Request, error: HTTPError) -> bytes:
        """Set the status and headers for *error*; return the body.  No endpoint is called."""
        request_id = assigned_request_id(request)
        refusal = refusal_for(error)
        return self._write(refusal.response(request_id), request, request_id)

    def _answer_not_routed(self, request: Request, failure: Failure) -> bytes:
        """
        Return the body for a request that matches no route, and set its status and headers.

        The status is 405 if the path has a route for another method, else 404.  A 405 has the
        header Allow with the methods of the path.
        """
        problem = cast("HTTPException", failure.value)
        path = request.path.decode("utf-8", "replace")
        method = request.method.decode("ascii", "replace")
        headers: dict[str, str] = {}
        if problem.code == 405:
            allowed = ", ".join(sorted(getattr(problem, "valid_methods", None) or ()))
            headers["Allow"] = allowed
            message = f"{method} {path}: allowed methods: {allowed}"
        else:
            message = f"{method} {path}: {(problem.name or 'not found').lower()}"
        request_id = assigned_request_id(request)
        refusal = Refusal(problem.code or 500, message, headers)
        return self._write(refusal.response(request_id), request, request_id)


def _error_answer(failure: Failure, incoming: HTTPRequest) -> HTTPResponse:
    """
    Return the answer for the *failure* of an endpoint.

    If the endpoint was cancelled by a hang-up, return *failure* itself.
    """
    if failure.check(CancelledError) and incoming.disconnected.called:
        return failure  # type: ignore[return-value]  # an errback may return its failure
    return error_response(failure, incoming.request_id)


def assigned_request_id(request: Request) -> str:
    """Return the id of *request*, or a new id if its Site has assigned none."""
    return getattr(request, "request_id", "") or request_id_in(request)


def read_request(request: Request, clock: IReactorTime) -> HTTPRequest:
    """Return *request* as endpoints receive it; raises a 400 if its query is not UTF-8."""
    return HTTPRequest(
        method=request.method.decode("ascii"),
        path=unquote(request.path, errors="replace"),
        query=_decoded_query(request.args),
        headers=getattr(request, "fields", None) or decode_headers(request),
        body=cast("BinaryIO", request.content).read(),
        request_id=assigned_request_id(request),
        received=getattr(request, "received", 0.0) or clock.seconds(),
        connection=request.channel,
        disconnected=_disconnected(request),
        admitted=getattr(request, "admitted", False),
        preflighted=getattr(request, "preflighted", None),
    )


def _disconnected(request: Request) -> "Deferred[None]":
    """Return a Deferred that fires when the client of *request* hangs up before the answer."""
    if isinstance(request, LimitedRequest):
        return request.disconnected
    disconnected: Deferred[None] = Deferred()
    request.notifyFinish().addErrback(lambda _: disconnected.callback(None))
    return disconnected


def _decoded_query(args: Mapping[bytes, list[bytes]]) -> dict[str, tuple[str, ...]]:
    try:
        return {k.decode(): tuple(v.decode() for v in values) for k, values in args.items()}
    except UnicodeDecodeError as error:
        raise HTTPError(400, "the query is not UTF-8") from error
