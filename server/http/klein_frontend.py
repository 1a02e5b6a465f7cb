"""
The Klein front end: every route as a route of a Klein app, and the answers of Klein's own matching.

By default Klein answers only the requests that the router does not match: paths with escapes, HEAD,
404 and 405.  Importing Klein installs a reactor: import this module after the reactor is chosen.
Everything here runs on the reactor thread.
"""

from typing import TYPE_CHECKING, cast

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Site
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from server.http.error_statuses import Refusal
from server.http.exchange import Exchange
from server.http.klein_bridge import BridgedRequest
from server.http.messages import Route
from server.http.options import path_options
from server.http.router import Match, Router, rest_of

if TYPE_CHECKING:
    from klein._app import KleinErrorFunction


class Rest(BaseConverter):
    """What follows the prefix of a prefix route in Klein's own matching: any text, or none."""

    regex = "(?s:.*)"
    part_isolating = False
    weight = 300  # after all converters of werkzeug


class KleinFrontend:
    """A Klein app with the routes of *router*."""

    def __init__(self, router: Router) -> None:
        self._app = Klein()
        self._app.url_map.converters["rest"] = Rest
        for route in router.routes:
            self._add(route)
        # Klein types the request as the bare interface; every request here is one of the bridge.
        handler = cast("KleinErrorFunction", _answer_not_routed)
        self._app.handle_errors(HTTPException)(handler)
        self._site = Site(self._app.resource())

    def answer(self, exchange: Exchange) -> None:
        """Answer *exchange* by the route that Klein finds."""
        BridgedRequest(exchange, self._site).begin()

    def _add(self, route: Route) -> None:
        path = route.path if route.prefix is None else f"{route.prefix}<rest:_>"

        @self._app.route(path, methods=[route.method], endpoint=route.name)
        def view(request: BridgedRequest, **_: str) -> Deferred[bytes]:  # the rest, decoded
            exchange = request.exchange
            if exchange.match is None:
                exchange.match = Match(route, rest_of(route, exchange.head.raw_path))
                exchange.request.rest = exchange.match.rest
            return exchange.call(route).addCallback(request.set_answer)


def _answer_not_routed(request: BridgedRequest, failure: Failure) -> bytes:
    """
    Return the body for a request that matches no route, and set its status and fields.

    The status is 405 if the path has a route for another method, else 404.  A 405 has the header
    Allow with the methods of the path; to OPTIONS it becomes a 200 with them.
    """
    problem = cast("HTTPException", failure.value)
    path = request.path.decode("ascii")
    method = request.method.decode("ascii")
    headers: dict[str, str] = {}
    if problem.code == 405:
        allowed = ", ".join(sorted(getattr(problem, "valid_methods", None) or ()))
        headers["Allow"] = allowed
        message = f"{method} {path}: allowed methods: {allowed}"
    else:
        message = f"{method} {path}: {(problem.name or 'not found').lower()}"
    refusal = Refusal(problem.code or 500, message, headers)
    answer = refusal.response(request.exchange.request.request_id)
    return request.set_answer(path_options(method, answer))
