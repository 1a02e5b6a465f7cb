"""Which route a request matches, and how often it is looked up: server/http/router.py."""

import subprocess
import sys
from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from server.http.error_statuses import HTTPError, refusal_for
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.router import Match, Router
from tests.fakes.http import chunk, request
from tests.fakes.klein_app import KleinServer

pytestmark = pytest.mark.usefixtures("log")


def _serve(received: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, f"{received.method} {received.rest}\n".encode()))


def _of(name: str) -> Route:
    """Return a route whose answers have its *name* and what the endpoint received as the rest."""

    def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
        return succeed(HTTPResponse(200, f"{name} {received.rest}\n".encode()))

    method, path = name.split(" ")
    return Route(method, path, endpoint)


POST, STATUS = Route("POST", "/", _serve), Route("GET", "/status", _serve)
LIST = _of("GET /models/list")
MODELS = [
    _of("GET /*"),
    _of("GET /models/*"),
    LIST,
    _of("GET /models/pets/*"),
    _of("POST /models/*"),
    _of("PUT /models/list"),
]


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
    """No other method, and no other spelling of the path; no match is made anew."""
    router = Router([POST, STATUS])
    match = router.match(method, path)
    assert match == (None if route is None else Match(route))
    assert router.match(method, path) is match


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("GET /models/list", "GET /models/list", ""),
        ("GET /models/list/", "GET /models/*", "list/"),
        ("GET /models/", "GET /models/*", ""),
        ("GET /models/cats:predict", "GET /models/*", "cats:predict"),
        ("GET /models/cats//7", "GET /models/*", "cats//7"),
        ("GET /models/pets", "GET /models/*", "pets"),
        ("GET /models/pets/", "GET /models/pets/*", ""),
        ("GET /models/pets/7", "GET /models/pets/*", "7"),
        ("POST /models/pets/7", "POST /models/*", "pets/7"),
        ("POST /models/list", "POST /models/*", "list"),
        ("GET /models", "GET /*", "models"),
        ("GET /", "GET /*", ""),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_literal_routes_precede_prefixes_and_longer_ones_shorter_ones(
    line: str, name: str, rest: str, order: int
) -> None:
    """In any order of the table, in the router as in Klein, which finds escaped paths."""
    method, path = line.split(" ")
    routes = tuple(MODELS[::order])
    match = Router(routes).match(method.encode(), path.encode())
    assert match is not None
    assert (match.route.name, match.rest) == (name, rest)
    server = KleinServer(more=routes)
    client = server.connect()
    client.send(request(method, path), request(method, path.replace("/models/", "/%6dodels/")))
    assert [answer.body.decode() for answer in client.answers] == [f"{name} {rest}\n"] * 2
    assert server.ask(method, path).body == client.answers[0].body


@pytest.mark.parametrize(
    ("target", "name", "rest"),
    [
        ("/m%6Fdels%2fcats%3Apredict?k=%20", "GET /models/*", "cats%3Apredict"),
        ("/models/a%2Fb", "GET /models/*", "a%2Fb"),
        ("/models/a%0Ab", "GET /models/*", "a%0Ab"),
        ("/models/%C3%A9", "GET /models/*", "%C3%A9"),
        ("/models/lis%74", "GET /models/list", ""),
        ("/models/p%65ts/7", "GET /models/pets/*", "7"),
        ("http://localhost/models/cats?k=1", "GET /models/*", "cats"),
    ],
)
def test_the_rest_of_an_escaped_path_is_as_the_client_sent_it(
    target: str, name: str, rest: str
) -> None:
    """Klein finds its route, and the escapes of the prefix are not counted as the rest."""
    client = KleinServer(more=tuple(MODELS)).connect()
    client.send(request("GET", target))
    assert (client.answer.status, client.answer.body.decode()) == (200, f"{name} {rest}\n")


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("HEAD", "/models/cats", 200, None),
        ("PUT", "/models/cats", 405, "GET, HEAD, POST"),
        ("BREW", "/models/list", 405, "GET, HEAD, POST, PUT"),
        ("GET", "/models", 404, None),
        ("GET", "/models/%ff", 400, None),
        ("GET", "/models/\x80", 400, None),
    ],
)
def test_klein_answers_what_no_route_matches(
    method: str, target: str, status: int, allow: str | None
) -> None:
    """Beside prefix routes, too."""
    client = KleinServer(more=tuple(MODELS[1:])).connect()
    client.send(request(method, target))
    head = client.received.decode()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert (f"\r\nAllow: {allow}\r\n" in head) == (allow is not None)


class CountingRouter(Router):
    """Counts its look-ups."""

    count = 0

    def match(self, method: bytes, path: bytes) -> Match | None:
        """Count, and return the match."""
        self.count += 1
        return super().match(method, path)


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request(body=b"hello"),
        request(body=bytes(101)),
        request("GET", "/models/cats"),
        request("GET", "/mod%65ls/cats"),
        request("GET", "http://localhost/state"),
        request("HEAD", "/state"),
        request("GET", "/"),
    ],
)
@pytest.mark.parametrize("cut", [1, 10_000])
def test_a_request_is_looked_up_once(data: bytes, cut: int) -> None:
    """However it is answered."""
    server = KleinServer(more=(MODELS[1],))
    router = server.site.router = CountingRouter(server.site.router.routes)
    client = server.connect()
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert client.received
    assert router.count == 1


def _own_error(problem: Failure | Exception, request_id: str) -> HTTPResponse:
    error = problem.value if isinstance(problem, Failure) else problem
    status = refusal_for(error).status
    return HTTPResponse(status, f"{error} {request_id}".encode(), content_type="text/plain")


def _fail(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return fail(HTTPError(409, "no"))


CHUNKED = {"Transfer-Encoding": "chunked", "X-Request-Id": "mine"}


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (request(headers={"Content-Length": "101"}), 413, "the body is 101 bytes, the limit is"),
        (request(body=chunk(bytes(101)), headers=CHUNKED), 413, "the body is more than 100 bytes"),
        (request(body=chunk(bytes(60)), headers=CHUNKED), 429, "the server holds 950 bytes of"),
        (request(headers={"Content-Length": "9"}), 408, "the request did not arrive within 8 sec"),
        (request(body=b"many\r\n", headers=CHUNKED), 400, "the head or the framing of this"),
        (request(target="/own?%ff=1"), 400, "the query is not UTF-8"),
        (request(target="/%6fwn?%ff=1"), 400, "the query is not UTF-8"),
        (request(), 409, "no"),
        (request(target="/%6fwn"), 409, "no"),
    ],
)
@pytest.mark.parametrize("path", ["/own", "/*"])
def test_a_route_writes_its_errors_in_its_own_form(
    data: bytes, status: int, error: str, path: str
) -> None:
    """As soon as its head is complete."""
    own = replace(Route("POST", path, _fail), write_error=_own_error)
    server = KleinServer(more=(own,))
    server.site.connections.limits.held = 950
    client = server.connect()
    data = data.replace(b"POST / ", b"POST /own ").replace(b"Host:", b"X-Request-Id: mine\r\nHost:")
    client.send(data.replace(b"mine\r\nX-Request-Id: mine", b"mine"))
    server.clock.advance(8)
    assert client.answer.status == status
    assert client.answer.headers["content-type"] == "text/plain"
    assert client.answer.body.decode().startswith(error)
    assert client.answer.headers["x-request-id"] == "mine"


def test_a_router_lists_its_routes_in_order() -> None:
    """A front end registers each of them under its name."""
    assert [route.name for route in Router([POST, STATUS]).routes] == ["POST /", "GET /status"]


def test_connections_and_routes_do_not_import_twisted_web() -> None:
    """Nor through another module: a front end with its own parser does without it."""
    program = (
        "import sys, server.http.connections, server.http.router;"
        "sys.exit(repr({'twisted.web', 'klein'} & {*sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "set()\n"
