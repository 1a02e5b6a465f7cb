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
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from server.http.error_statuses import HTTPError, Refusal
from server.http.faults import log_faults
from server.http.head import header_fields, reason_phrase
from server.http.messages import HTTPRequest, HTTPResponse, Route, WriteError
from server.http.request import (
    LimitedRequest,
    decode_headers,
    request_id_in,
    trace_context_in,
)
from server.http.router import Router, error_writer, rest_of
from server.lifecycle import Lifecycle

if TYPE_CHECKING:
    from klein._app import KleinErrorFunction


class MatchedRoutes(KleinResource):
    """
    Klein's resource, except that it uses the match of a request that has one.

    That is faster than to search the routes again.  Each view of the app must return a Deferred of
    the answer's body, which is cancelled when the client hangs up, here or by Klein.
    """

    def render(self, request: Request) -> Any:  # type: ignore[override]  # only a Site calls it
        """
        Answer *request* by its route.

        If it has no match, as always under a Site that is not ours, Klein finds the route.
        """
        if not isinstance(request, LimitedRequest) or request.match is None:
            return super().render(request)
        name = request.match.route.name
        answer = cast("Deferred[bytes]", self._app.execute_endpoint(name, request))
        request.pending_answer = answer
        answer.addCallback(request.send_body)
        answer.addErrback(_handle_unanswered, request)
        return NOT_DONE_YET


def _handle_unanswered(failure: Failure, request: LimitedRequest) -> None:
    """
    Answer *request* with a 500.

    If its answer has begun or its client has hung up, only log *failure*.

    The cancellation after a hang-up is not logged.
    """
    if not (request.hung_up or request.startedWriting):
        request.processingFailed(failure)
    elif not (request.hung_up and failure.check(CancelledError)):
        log_faults([failure], request.request_id, trace_context_in(request))


class Rest(BaseConverter):
    """What follows the prefix of a prefix route in Klein's own matching: any text, or none."""

    regex = "(?s:.*)"
    part_isolating = False
    weight = 300  # after all converters of werkzeug


class KleinFrontend:
    """Builds a Klein app from the routes of *router*; a Site of ours must have the same router."""

    def __init__(self, router: Router, *, clock: IReactorTime, lifecycle: Lifecycle) -> None:
        self._clock = clock
        self._lifecycle = lifecycle
        self._app = Klein()
        self._app.url_map.converters["rest"] = Rest
        for route in router.routes:
            self._add(route)
        # Klein types the request as the bare interface; every request here is one of a Site.
        handler = cast("KleinErrorFunction", self._answer_not_routed)
        self._app.handle_errors(HTTPException)(handler)

    def resource(self) -> KleinResource:
        """Return the resource to use as the root of a Site."""
        return MatchedRoutes(self._app)

    def _add(self, route: Route) -> None:
        write_error = error_writer(route)
        path = route.path if route.prefix is None else f"{route.prefix}<rest:_>"

        @self._app.route(path, methods=[route.method], endpoint=route.name)
        def view(request: Request, **_: str) -> Deferred[bytes]:  # the rest, decoded by Klein
            request_id = assigned_request_id(request)
            try:
                incoming = read_request(request, route, request_id, self._clock)
            except HTTPError as error:
                _end_early(request, error)
                return succeed(self._write(write_error(error, request_id), request, request_id))
            answer = maybeDeferred(route.endpoint, incoming)
            answer.addErrback(_error_answer, request, request_id, write_error)
            return answer.addCallback(self._write, request, request_id)

    def _write(self, answer: HTTPResponse, request: Request, request_id: str) -> bytes:
        fields = header_fields(answer, {"X-Request-Id": request_id})
        if answer.faults:
            model = answer.headers.get("X-Model-Version", "")
            log_faults(answer.faults, request_id, trace_context_in(request), model)
        if self._lifecycle.leaving:
            fields["Connection"] = "close"
            request.channel.persistent = False
        if isinstance(request, LimitedRequest):
            request.begin_answer(answer.status, fields, answer.timing)
        else:
            request.setResponseCode(answer.status, reason_phrase(answer.status))
            for name, value in fields.items():
                request.setHeader(name, value)
        return answer.body

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


def _error_answer(
    failure: Failure, request: Request, request_id: str, write_error: WriteError
) -> HTTPResponse:
    """
    Return the answer for the *failure* of an endpoint.

    If the endpoint was cancelled by a hang-up, return *failure* itself.
    """
    channel: object = request.channel  # twisted.web sets it to None at a hang-up
    if channel is None and failure.check(CancelledError):
        return failure  # type: ignore[return-value]  # an errback may return its failure
    _end_early(request, failure.value)
    return write_error(failure, request_id)


def _end_early(request: Request, error: BaseException | None) -> None:
    """Report that *request* has no answer of its endpoint, if its Site is ours."""
    if isinstance(request, LimitedRequest):
        request.end_early(error)


def assigned_request_id(request: Request) -> str:
    """Return the id of *request*, or a new id if its Site has assigned none."""
    return getattr(request, "request_id", "") or request_id_in(request)


def read_request(
    request: Request, route: Route, request_id: str, clock: IReactorTime
) -> HTTPRequest:
    """
    Return *request*, whose route is *route*, as endpoints receive it.

    Raises a 400 if its query is not UTF-8.
    """
    match = getattr(request, "match", None)
    return HTTPRequest(
        method=request.method.decode("ascii"),
        path=unquote(request.path, errors="replace"),
        rest=rest_of(route, request.path) if match is None else match.rest,
        query=_decoded_query(request.args),
        headers=getattr(request, "fields", None) or decode_headers(request),
        body=cast("BinaryIO", request.content).read(),
        request_id=request_id,
        received=getattr(request, "received", 0.0) or clock.seconds(),
        connection=request.channel,
        preflighted=getattr(request, "preflighted", None),
        admitted=getattr(request, "admitted", False),
    )


def _decoded_query(args: Mapping[bytes, list[bytes]]) -> dict[str, tuple[str, ...]]:
    try:
        return {k.decode(): tuple(v.decode() for v in values) for k, values in args.items()}
    except UnicodeDecodeError as error:
        raise HTTPError(400, "the query is not UTF-8") from error
