"""How the Klein front end answers errors: server/http/klein_frontend.py."""

from collections.abc import Callable
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest, HTTPResponse
from tests.fakes.http import read_answers, request
from tests.fakes.klein_app import KleinServer
from tests.fakes.server import Log

pytestmark = pytest.mark.usefixtures("log")


def _raise(error: Exception) -> Deferred[HTTPResponse]:
    raise error


@pytest.mark.parametrize("raised", [_raise, fail])
def test_an_expected_error_is_answered(
    raised: Callable[[Exception], Deferred[HTTPResponse]], log: Log
) -> None:
    """Raised, or as a failure, and not logged: the client can act upon it."""
    error = HTTPError(429, "too busy", {"Retry-After": "1"})
    received = KleinServer(lambda _: raised(error)).ask()
    assert received.status == 429
    assert received.error == "too busy"
    assert received.headers["retry-after"] == "1"
    assert received.headers["content-type"] == "application/json"
    assert log.errors() == []


@pytest.mark.parametrize("raised", [_raise, fail])
def test_an_unexpected_error_is_logged_once_and_reveals_nothing(
    raised: Callable[[Exception], Deferred[HTTPResponse]], log: Log
) -> None:
    """The log has the error, with the request id of the answer."""
    server = KleinServer(lambda _: raised(ZeroDivisionError("the secret")))
    received = server.ask(headers={"X-Request-Id": "mine"})
    assert received.status == 500
    assert received.json() == {
        "error": "the server failed to answer; "
        "the server's log has the reason under this request id",
        "status": 500,
        "request_id": "mine",
    }
    (line,) = log.flush(ZeroDivisionError)
    assert line.startswith("request mine failed")
    assert "the secret" in line


def test_a_cancellation_without_a_hang_up_is_an_error(log: Log) -> None:
    """The client is still connected, and gets an answer."""
    received = KleinServer(lambda _: fail(CancelledError())).ask()
    assert received.status == received.json()["status"] == 500
    assert len(log.flush(CancelledError)) == 1


class CountingDeferred(Deferred[HTTPResponse]):
    """Counts the calls of `cancel`."""

    cancels = 0

    def cancel(self) -> None:
        """Count, and cancel."""
        self.cancels += 1
        super().cancel()


@pytest.mark.parametrize("after", [None, HTTPResponse(200, b"late"), HTTPError(400, "late")])
@pytest.mark.parametrize("target", ["/state", "/st%61te"], ids=["matched", "by Klein"])
def test_a_hang_up_cancels_the_endpoint_once_and_logs_nothing(
    target: str, after: HTTPResponse | Exception | None
) -> None:
    """However the request ends then, no error is logged or unhandled."""

    def cancelled(answer: Deferred[HTTPResponse]) -> None:
        if isinstance(after, HTTPResponse):
            answer.callback(after)
        elif after is not None:
            answer.errback(after)

    answer = CountingDeferred(cancelled)
    server = KleinServer(lambda _: answer)
    client = server.connect()
    client.send(request("PUT", target, body=b"hello"))
    assert answer.cancels == 0
    client.hang_up()
    assert (answer.called, answer.cancels) == (True, 1)
    assert client.received == b""
    assert server.site.connections.limits.held == 0


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1"])
def test_no_header_of_an_answer_can_add_another(value: str) -> None:
    """Line ends in a value are replaced."""
    client = KleinServer(
        lambda _: succeed(HTTPResponse(200, b"", {"X-Model-Version": value}))
    ).connect()
    client.send(request())
    assert client.answer.status == 200
    assert "evil" not in client.answer.headers


#: Requests for one endpoint, with and without a match of the router: Klein finds the others.
TARGETS = [
    request(),
    request("GET", "/state"),
    request("HEAD", "/state"),
    request("GET", "/st%61te"),
]


def _nothing(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(cast("HTTPResponse", None))


def _unwritable(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, b"", {"X-Extra": "\udc80", "Server-Timing": "queue;dur=1"}))


@pytest.mark.parametrize("data", TARGETS)
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
    """Logged, and answered with a 500 that has the headers of every answer."""
    server = KleinServer(endpoint)
    client = server.connect()
    client.send(data.replace(b"Host:", b"X-Request-Id: mine\r\nHost:", 1))
    (answer,) = read_answers(client.received, bodies=not data.startswith(b"HEAD"))
    assert answer.status == 500
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["server"] == "TensorFerry"
    assert "date" in answer.headers
    assert len(log.flush(error)) == 1
    assert not server.site.connections.busy
    assert server.logged == ["mine"]


def test_a_body_that_is_no_bytes_is_an_error(log: Log) -> None:
    """Detected after the head was encoded, before anything was sent."""
    server = KleinServer(lambda _: succeed(HTTPResponse(200, cast("bytes", "text"))))
    client = server.connect()
    client.send(request())
    assert client.answer.status == 500
    assert len(log.flush(TypeError)) == 1


@pytest.mark.parametrize("data", TARGETS)
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_sends_none(status: int, data: bytes) -> None:
    """A client would read bytes after the head as the next answer."""
    server = KleinServer(lambda _: succeed(HTTPResponse(status, b"body\n")))
    client = server.connect()
    client.send(data, data)
    heads = client.received.split(b"\r\n\r\n")
    assert len(heads) == 3
    assert all(head.startswith(b"HTTP/1.1 %d " % status) for head in heads[:2])
    assert heads[2] == b""
    assert (b"Content-Length" in heads[0]) == (status == 304)
