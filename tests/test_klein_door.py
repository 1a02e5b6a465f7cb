"""The Klein front end, under StubTreq and on connections of its own: server/http/klein_door.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from treq import testing
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from server.errors import HTTPError
from server.http.channel import LimitedSite
from server.http.klein_door import KleinDoor
from server.http.limits import BodyLimits
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.lifecycle import Lifecycle, State
from tests.fakes_http import Answer, Client, read_answers, request
from tests.fakes_server import Log
from tests.fakes_threads import outcomes

pytestmark = pytest.mark.usefixtures("log")


_StubTreq: Any = testing.StubTreq  # Any: treq declares none of its functions


@dataclass
class World:
    """A door with a route for POST and two for GET, and those who come through it."""

    answer: Callable[[HTTPRequest], Deferred[HTTPResponse]] = field(
        default=lambda _: succeed(HTTPResponse(200, b"yes\n", {"X-Extra": "more"}))
    )

    def __post_init__(self) -> None:
        """Build the door."""
        self.clock = Clock()
        self.clock.advance(64)
        self.lifecycle = Lifecycle()
        self.seen: list[HTTPRequest] = []
        self.logged: list[str] = []

        def endpoint(asked: HTTPRequest) -> Deferred[HTTPResponse]:
            self.seen.append(asked)
            return self.answer(asked)

        routes = (
            Route("POST", "/", endpoint, express=True),
            Route("GET", "/state", endpoint),
            Route("PUT", "/state", endpoint),
        )
        door = KleinDoor(routes, clock=self.clock, lifecycle=self.lifecycle)
        self.stub: Any = _StubTreq(door.app.resource())
        self.site = LimitedSite(
            door.app.resource(),
            limits=BodyLimits(max_body=100, max_held=1000),
            client_timeout=8.0,
            clock=self.clock,
            routes=routes,
            access_log=lambda request: self.logged.append(getattr(request, "request_id", "")),
        )

    def ask(
        self,
        method: str = "POST",
        target: str = "/",
        body: bytes = b"",
        headers: Mapping[str, str | list[str]] | None = None,
    ) -> Answer:
        """Ask through a stock `twisted.web` Site, and return the answer."""
        url = "http://localhost" + target
        arrived = self.stub.request(method, url, data=body, headers=dict(headers or {}))
        self.stub.flush()
        response: Any
        (response,) = outcomes(arrived)
        (content,) = outcomes(self.stub.content(response))
        assert isinstance(content, bytes)
        return Answer(response.code, _flat(response.headers), content)

    def connect(self) -> Client:
        """Return a connection to the server's own Site."""
        return Client(self.site, self.clock)


def _flat(headers: Headers) -> dict[str, str]:
    pairs = {name.decode().lower(): values for name, values in headers.getAllRawHeaders()}
    assert all(len(values) == 1 for values in pairs.values())
    return {name: values[0].decode() for name, values in pairs.items()}


# --- answers


@pytest.mark.parametrize("late", [False, True])
def test_an_endpoints_answer_goes_out_as_it_is(late: bool) -> None:
    """With the door's own headers beside it, at once or later."""
    answer: Deferred[HTTPResponse] = Deferred()
    world = World(lambda _: answer)
    body = b"\x00\xff any bytes"
    answered = HTTPResponse(201, body, {"X-Extra": "more"}, content_type="image/png")
    if late:
        arrived = outcomes(world.stub.post("http://localhost/", data=b"body"))
        assert arrived == []
        answer.callback(answered)
        world.stub.flush()
        response: Any
        (response,) = arrived
        assert response.code == 201
        assert outcomes(world.stub.content(response)) == [body]
    else:
        answer.callback(answered)
        received = world.ask(headers={"X-Request-Id": "mine"})
        assert (received.status, received.body) == (201, body)
        assert received.headers["content-type"] == "image/png"
        assert received.headers["x-extra"] == "more"
        assert received.headers["x-request-id"] == "mine"
        assert received.headers["server"] == "TensorFerry"


def test_an_endpoint_sees_the_request_as_it_came() -> None:
    """Decoded, with header names in lower case and repeated ones joined."""
    world = World()
    client = world.connect()
    client.send(
        b"POST /?b=1&a=%C3%A9&b=+2&c= HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
        b"X-Twice: one\r\nx-tWICE: two\r\nX-Latin: \xe9\r\nContent-Length: 3\r\n\r\n"
    )
    world.clock.advance(2)
    client.send(b"\0\xff.")
    (seen,) = world.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/", b"\0\xff.")
    assert dict(seen.query) == {"b": ("1", " 2"), "a": ("é",), "c": ("",)}
    assert seen.headers["x-twice"] == "one, two"
    assert seen.headers["x-latin"] == "é"
    assert seen.request_id == "mine"
    assert seen.received == 64.0  # when its head was read
    assert not seen.disconnected.called


def test_an_endpoint_sees_a_decoded_path() -> None:
    """However the client spelled it."""
    world = World()
    assert world.ask("GET", "/%73tate?x=%2F").status == 200
    assert world.seen[0].path == "/state"


def test_a_request_has_one_id_throughout() -> None:
    """The endpoint, the answer and the access log agree on one that was made here."""
    world = World()
    client = world.connect()
    client.send(request())
    assert [seen.request_id for seen in world.seen] == world.logged
    assert [client.answer.headers["x-request-id"]] == world.logged


def test_requests_of_one_connection_can_be_told() -> None:
    """From those of others."""
    world = World()
    one, other = world.connect(), world.connect()
    for client in (one, other, one):
        client.send(request())
    connections = [seen.connection for seen in world.seen]
    assert connections[0] is connections[2]
    assert connections[0] is not connections[1]


def test_under_another_site_a_request_has_an_id_and_a_time_too() -> None:
    """The door works wherever `twisted.web` does."""
    world = World()
    received = world.ask()
    (seen,) = world.seen
    assert seen.request_id == received.headers["x-request-id"]
    assert seen.received == 64.0


# --- requests that no endpoint answers


@pytest.mark.parametrize(
    ("method", "target", "status", "allow", "error"),
    [
        ("GET", "/none", 404, None, "GET /none: not found"),
        ("POST", "/state/", 404, None, "POST /state/: not found"),
        ("GET", "/%C3%A9", 404, None, "GET /%C3%A9: not found"),
        ("GET", "/", 405, "POST", "GET /: the methods here are POST"),
        (
            "POST",
            "/state",
            405,
            "GET, HEAD, PUT",
            "POST /state: the methods here are GET, HEAD, PUT",
        ),
        (
            "BREW",
            "/state",
            405,
            "GET, HEAD, PUT",
            "BREW /state: the methods here are GET, HEAD, PUT",
        ),
        ("POST", "/?k=%ff", 400, None, "the query is not UTF-8"),
        ("POST", "/?%ff=1", 400, None, "the query is not UTF-8"),
    ],
)
def test_a_request_that_fits_no_route_is_told_in_json(
    method: str, target: str, status: int, allow: str | None, error: str
) -> None:
    """With what would have fitted, and its id in two places."""
    world = World()
    received = world.ask(method, target, headers={"X-Request-Id": "mine"})
    assert received.status == status
    assert received.json() == {"error": error, "status": status, "request_id": "mine"}
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-request-id"] == "mine"
    assert received.headers.get("allow") == allow
    assert world.seen == []


def test_head_is_get_without_its_body() -> None:
    """As HTTP has it."""
    world = World()
    client = world.connect()
    client.send(request("HEAD", "/state"))
    assert client.received.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 4\r\n" in client.received
    assert client.received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("POST"), 200),
        (request("GET"), 405),
        (request("GET", "/none"), 404),
        (request("POST", "/?%ff=1"), 400),
        (request("POST", "/%ff"), 400),
        (request("OPTIONS", "*"), 200),
        (request("GET", "*"), 405),
        (request("GET", "state"), 404),
        (request("CONNECT", "localhost:80"), 404),
        (request("POST", headers={"Host": ""}), 200),
        (request("POST", headers={"Host": "a b"}), 200),
        (request("POST", headers={"Host": "[::1]:80"}), 200),
        (request("POST", headers={"Host": "\xff"}), 200),
        (request("POST", headers={"Host": "a..b"}), 200),
        (request("POST", headers={"Host": "x" * 300}), 200),
        (request("POST", headers={"Host": "xn--\xe9"}), 200),
        (request("POST", headers={"Cookie": "\xff=\xfe; ="}), 200),
        (request("POST", headers={"Content-Type": "multipart/form-data"}, body=b"x"), 200),
    ],
)
def test_every_answer_carries_the_id_the_server_and_the_date(data: bytes, status: int) -> None:
    """Also where `twisted.web` or Klein answer by themselves; and none of it is our fault."""
    client = World().connect()
    client.send(data.replace(b"Host:", b"X-Request-Id: mine\r\nHost:", 1))
    assert client.answer.status == status
    assert client.answer.headers["x-request-id"] == "mine"
    assert {"server", "date"} <= client.answer.headers.keys()
    if status >= 400 and client.answer.body:
        assert client.answer.json()["request_id"] == "mine"


# --- errors


def _raise(error: Exception) -> Deferred[HTTPResponse]:
    raise error


@pytest.mark.parametrize("raised", [_raise, fail])
def test_an_error_that_is_foreseen_is_told(
    raised: Callable[[Exception], Deferred[HTTPResponse]], log: Log
) -> None:
    """Raised or failed with, and not logged: the client can act upon it."""
    error = HTTPError(429, "come back", {"Retry-After": "1"})
    received = World(lambda _: raised(error)).ask()
    assert received.status == 429
    assert received.error == "come back"
    assert received.headers["retry-after"] == "1"
    assert received.headers["content-type"] == "application/json"
    assert log.errors() == []


@pytest.mark.parametrize("raised", [_raise, fail])
def test_an_error_that_nobody_foresaw_is_logged_once_and_tells_nothing(
    raised: Callable[[Exception], Deferred[HTTPResponse]], log: Log
) -> None:
    """The log has what it was, under the id that the client has."""
    world = World(lambda _: raised(ZeroDivisionError("the secret")))
    received = world.ask(headers={"X-Request-Id": "mine"})
    assert received.status == 500
    assert received.json() == {
        "error": "the server failed to answer; its log says why, under this request id",
        "status": 500,
        "request_id": "mine",
    }
    (line,) = log.flush(ZeroDivisionError)
    assert line.startswith("request mine failed")
    assert "the secret" in line


def test_a_cancel_that_was_no_hang_up_is_an_error(log: Log) -> None:
    """The client is there, and gets an answer."""
    received = World(lambda _: fail(CancelledError())).ask()
    assert received.status == received.json()["status"] == 500
    assert len(log.flush(CancelledError)) == 1


@pytest.mark.parametrize("after", [None, HTTPResponse(200, b"late"), HTTPError(400, "late")])
def test_a_hang_up_is_told_to_the_endpoint_and_to_nobody_else(
    after: HTTPResponse | Exception | None,
) -> None:
    """Whatever becomes of the request then, no error is logged or left unheard."""
    ends: list[str] = []

    def cancelled(answer: Deferred[HTTPResponse]) -> None:
        ends.append("cancelled")
        if isinstance(after, HTTPResponse):
            answer.callback(after)
        elif after is not None:
            answer.errback(after)

    def endpoint(asked: HTTPRequest) -> Deferred[HTTPResponse]:
        asked.disconnected.addCallback(lambda _: ends.append("disconnected"))
        return Deferred(cancelled)

    world = World(endpoint)
    client = world.connect()
    client.send(request(body=b"hello"))
    assert ends == []
    client.hang_up()
    assert sorted(ends) == ["cancelled", "disconnected"]
    assert client.received == b""
    assert world.site.limits.held == 0


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1"])
def test_no_header_of_an_answer_can_add_another(value: str) -> None:
    """Wherever its value came from."""
    client = World(lambda _: succeed(HTTPResponse(200, b"", {"X-Model-Version": value}))).connect()
    client.send(request())
    assert client.answer.status == 200
    assert "evil" not in client.answer.headers


#: Requests for one endpoint, as they come to it with and without Klein's own search for a route.
WAYS = [request(), request("GET", "/state"), request("HEAD", "/state"), request("GET", "/st%61te")]


def _nothing(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(cast("HTTPResponse", None))


def _unwritable(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, b"", {"X-Extra": "\udc80", "Server-Timing": "queue;dur=1"}))


@pytest.mark.parametrize("data", WAYS)
@pytest.mark.parametrize(
    ("endpoint", "error"),
    [(_unwritable, UnicodeEncodeError), (_nothing, AttributeError)],
)
def test_an_answer_that_cannot_be_written_is_an_error(
    endpoint: Callable[[HTTPRequest], Deferred[HTTPResponse]],
    error: type[Exception],
    data: bytes,
    log: Log,
) -> None:
    """Logged, and told to whoever waits for it, with what every answer has."""
    world = World(endpoint)
    client = world.connect()
    client.send(data.replace(b"Host:", b"X-Request-Id: mine\r\nHost:", 1))
    (answer,) = read_answers(client.received, bodies=not data.startswith(b"HEAD"))
    assert answer.status == 500
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["server"] == "TensorFerry"
    assert "date" in answer.headers
    assert len(log.flush(error)) == 1
    assert not world.site.busy
    assert world.logged == ["mine"]


def test_a_body_that_is_no_bytes_is_an_error(log: Log) -> None:
    """Found behind the head, of which nothing has gone out."""
    world = World(lambda _: succeed(HTTPResponse(200, cast("bytes", "text"))))
    client = world.connect()
    client.send(request())
    assert client.answer.status == 500
    assert len(log.flush(TypeError)) == 1


@pytest.mark.parametrize("data", WAYS)
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_sends_none(status: int, data: bytes) -> None:
    """What followed the head would be taken for the next answer."""
    world = World(lambda _: succeed(HTTPResponse(status, b"body\n")))
    client = world.connect()
    client.send(data, data)
    heads = client.received.split(b"\r\n\r\n")
    assert len(heads) == 3
    assert all(head.startswith(b"HTTP/1.1 %d " % status) for head in heads[:2])
    assert heads[2] == b""
    assert (b"Content-Length" in heads[0]) == (status == 304)


# --- leaving


@pytest.mark.parametrize("data", [request(), request("GET", "/none"), request("POST", "/?%ff=1")])
def test_a_server_that_leaves_says_so_with_each_answer(data: bytes) -> None:
    """And closes the connection behind it."""
    world = World()
    client = world.connect()
    client.send(data)
    assert "connection" not in client.answer.headers
    world.lifecycle.move(State.DRAINING)
    client.send(data)
    assert client.answers[1].headers["connection"] == "close"
    assert client.transport.disconnecting
    assert client.answers[1].status == client.answers[0].status
