"""Which route a request matches: server/http/router.py."""

import pytest
from twisted.internet.defer import Deferred

from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.router import Router


def _serve(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return Deferred()


POST, STATUS = Route("POST", "/", _serve), Route("GET", "/status", _serve)
ROUTER = Router([POST, STATUS])


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        (b"POST", b"/", POST),
        (b"GET", b"/status", STATUS),
        (b"GET", b"/", None),
        (b"POST", b"/status", None),
        (b"HEAD", b"/status", None),
        (b"GET", b"/st%61tus", None),
        (b"GET", b"/status/", None),
        (b"GET", b"*", None),
        (b"\xff", b"/\xff", None),
    ],
)
def test_a_route_matches_its_method_and_its_literal_path(
    method: bytes, path: bytes, route: Route | None
) -> None:
    """No other method, and no other spelling of the path."""
    assert ROUTER.match(method, path) is route


def test_a_router_lists_its_routes_in_order() -> None:
    """A front end registers each of them under its name."""
    assert [route.name for route in ROUTER.routes] == ["POST /", "GET /status"]
