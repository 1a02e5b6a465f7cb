"""The Klein front end, under StubTreq and on connections: server/http/klein_frontend.py."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from server.http.messages import HTTPResponse
from server.lifecycle import State
from tests.fakes.http import request
from tests.fakes.klein_app import KleinServer
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")


# --- answers


@pytest.mark.parametrize("late", [False, True])
def test_an_endpoints_answer_is_sent_unchanged(late: bool) -> None:
    """With the front end's own headers added, at once or later."""
    answer: Deferred[HTTPResponse] = Deferred()
    server = KleinServer(lambda _: answer)
    body = b"\x00\xff any bytes"
    answered = HTTPResponse(201, body, {"X-Extra": "more"}, content_type="image/png")
    if late:
        arrived = outcomes(server.stub.post("http://localhost/", data=b"body"))
        assert arrived == []
        answer.callback(answered)
        server.stub.flush()
        response: Any
        (response,) = arrived
        assert response.code == 201
        assert outcomes(server.stub.content(response)) == [body]
    else:
        answer.callback(answered)
        received = server.ask(headers={"X-Request-Id": "mine"})
        assert (received.status, received.body) == (201, body)
        assert received.headers["content-type"] == "image/png"
        assert received.headers["x-extra"] == "more"
        assert received.headers["x-request-id"] == "mine"
        assert received.headers["server"] == "TensorFerry"


def test_an_endpoint_receives_the_request_decoded() -> None:
    """With header names in lower case and repeated ones joined."""
    server = KleinServer()
    client = server.connect()
    client.send(
        b"POST /?b=1&a=%C3%A9&b=+2&c= HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
        b"X-Twice: one\r\nx-tWICE: two\r\nX-Latin: \xe9\r\nContent-Length: 3\r\n\r\n"
    )
    server.clock.advance(2)
    client.send(b"\0\xff.")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/", b"\0\xff.")
    assert dict(seen.query) == {"b": ("1", " 2"), "a": ("é",), "c": ("",)}
    assert seen.headers["x-twice"] == "one, two"
    assert seen.headers["x-latin"] == "é"
    assert seen.request_id == "mine"
    assert seen.received == 64.0  # when its head was read


def test_an_endpoint_receives_a_decoded_path() -> None:
    """In any spelling."""
    server = KleinServer()
    assert server.ask("GET", "/%73tate?x=%2F").status == 200
    assert server.seen[0].path == "/state"


def test_a_request_has_one_id_throughout() -> None:
    """The endpoint, the answer and the access log have the same new id."""
    server = KleinServer()
    client = server.connect()
    client.send(request())
    assert [seen.request_id for seen in server.seen] == server.logged
    assert [client.answer.headers["x-request-id"]] == server.logged


def test_requests_of_one_connection_can_be_recognised() -> None:
    """By `Head.connection`."""
    server = KleinServer()
    one, other = server.connect(), server.connect()
    for client in (one, other, one):
        client.send(request())
    connections = [seen.connection for seen in server.seen]
    assert connections[0] is connections[2]
    assert connections[0] is not connections[1]


def test_under_another_site_a_request_has_an_id_and_a_time_too() -> None:
    """The front end works with any Site of `twisted.web`."""
    server = KleinServer()
    received = server.ask()
    (seen,) = server.seen
    assert seen.request_id == received.headers["x-request-id"]
    assert seen.received == 64.0


# --- requests that no endpoint answers


@pytest.mark.parametrize(
    ("method", "target", "status", "allow", "error"),
    [
        ("GET", "/none", 404, None, "GET /none: not found"),
        ("POST", "/state/", 404, None, "POST /state/: not found"),
        ("GET", "/%C3%A9", 404, None, "GET /%C3%A9: not found"),
        ("GET", "/", 405, "POST", "GET /: allowed methods: POST"),
        (
            "POST",
            "/state",
            405,
            "GET, HEAD, PUT",
            "POST /state: allowed methods: GET, HEAD, PUT",
        ),
        (
            "BREW",
            "/state",
            405,
            "GET, HEAD, PUT",
            "BREW /state: allowed methods: GET, HEAD, PUT",
        ),
        ("POST", "/?k=%ff", 400, None, "the query is not UTF-8"),
        ("POST", "/?%ff=1", 400, None, "the query is not UTF-8"),
    ],
)
def test_a_request_without_a_route_gets_an_error_in_json(
    method: str, target: str, status: int, allow: str | None, error: str
) -> None:
    """With the allowed methods, and its id in header and body."""
    server = KleinServer()
    received = server.ask(method, target, headers={"X-Request-Id": "mine"})
    assert received.status == status
    assert received.json() == {"error": error, "status": status, "request_id": "mine"}
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-request-id"] == "mine"
    assert received.headers.get("allow") == allow
    assert server.seen == []


def test_head_is_get_without_its_body() -> None:
    """As HTTP requires."""
    server = KleinServer()
    client = server.connect()
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
    """Also where `twisted.web` or Klein answer by themselves; none is an error of the server."""
    client = KleinServer().connect()
    client.send(data.replace(b"Host:", b"X-Request-Id: mine\r\nHost:", 1))
    assert client.answer.status == status
    assert client.answer.headers["x-request-id"] == "mine"
    assert {"server", "date"} <= client.answer.headers.keys()
    if status >= 400 and client.answer.body:
        assert client.answer.json()["request_id"] == "mine"


# --- draining


@pytest.mark.parametrize("data", [request(), request("GET", "/none"), request("POST", "/?%ff=1")])
def test_a_draining_server_closes_the_connection_with_each_answer(data: bytes) -> None:
    """It announces that in the Connection header."""
    server = KleinServer()
    client = server.connect()
    client.send(data)
    assert "connection" not in client.answer.headers
    server.lifecycle.move(State.DRAINING)
    client.send(data)
    assert client.answers[1].headers["connection"] == "close"
    assert client.transport.disconnecting
    assert client.answers[1].status == client.answers[0].status
