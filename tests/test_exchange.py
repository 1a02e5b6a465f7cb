"""Answers of endpoints and their errors, by each front end: server/http/exchange.py and Klein."""

from collections.abc import Callable
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from server.http.error_statuses import HTTPError
from server.http.messages import Endpoint, HTTPRequest, HTTPResponse
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.wire import FRONT_ENDS, FrontEnd, WireServer
from tests.wire_cases import GET

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(params=list(FRONT_ENDS))
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    """Each front end in turn."""
    return FRONT_ENDS[request.param]


def _raise(error: Exception) -> Deferred[HTTPResponse]:
    raise error


REFERRAL = "the server failed to answer; the server's log has the reason under this request id"


@pytest.mark.parametrize(
    ("error", "status", "message", "logged"),
    [
        (HTTPError(429, "too busy", {"Retry-After": "1"}), 429, "too busy", 0),
        (ZeroDivisionError("the secret"), 500, REFERRAL, 1),
        (CancelledError("the secret"), 500, REFERRAL, 1),  # the client is still connected
    ],
)
@pytest.mark.parametrize("raised", [_raise, fail])
def test_an_error_of_an_endpoint_is_answered(
    raised: Callable[[Exception], Deferred[HTTPResponse]],
    error: Exception,
    status: int,
    message: str,
    logged: int,
    front_end: FrontEnd,
    log: Log,
) -> None:
    """Raised, or as a failure; an unexpected error is logged, and reveals nothing."""
    client = WireServer(front_end, endpoint=lambda _: raised(error)).connect()
    client.send(request(headers={"X-Request-Id": "mine"}))
    assert client.answer.json() == {"error": message, "status": status, "request_id": "mine"}
    assert client.answer.headers.get("retry-after") == ("1" if status == 429 else None)
    lines = log.flush(type(error))
    assert len(lines) == logged
    assert all(line.startswith("request mine failed") and "secret" in line for line in lines)


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
    target: str, after: HTTPResponse | Exception | None, front_end: FrontEnd
) -> None:
    """However the request ends then, no error is logged or unhandled."""

    def cancelled(answer: Deferred[HTTPResponse]) -> None:
        if isinstance(after, HTTPResponse):
            answer.callback(after)
        elif after is not None:
            answer.errback(after)

    answer = CountingDeferred(cancelled)
    server = WireServer(front_end, endpoint=lambda _: answer)
    client = server.connect()
    client.send(request("PUT", target, body=b"hello"))
    assert answer.cancels == 0
    client.hang_up()
    assert (answer.called, answer.cancels, client.received) == (True, 1, b"")
    assert server.is_clean()


#: Requests for one endpoint, with and without a match of the router: Klein finds the others.
TARGETS = [request(), GET, request("HEAD", "/state"), request("GET", "/st%61te")]


def _nothing(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(cast("HTTPResponse", None))


def _unwritable(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, b"", {"X-Extra": "\udc80", "Server-Timing": "queue;dur=1"}))


def _text(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, cast("bytes", "text")))


@pytest.mark.parametrize(
    ("data", "endpoint", "error"),
    [
        *((data, _unwritable, UnicodeEncodeError) for data in TARGETS),
        *((data, _nothing, AttributeError) for data in TARGETS),
    ],
)
def test_an_answer_that_cannot_be_written_is_an_error(
    endpoint: Endpoint, error: type[Exception], data: bytes, front_end: FrontEnd, log: Log
) -> None:
    """Logged, and answered with a 500 that has the headers of every answer."""
    server = WireServer(front_end, endpoint=endpoint)
    client = server.connect()
    client.send(data.replace(b"Host:", b"X-Request-Id: mine\r\nHost:", 1))
    fields = client.answer.headers
    assert (client.answer.status, fields["x-request-id"]) == (500, "mine")
    assert fields["server"] == "TensorFerry"
    assert "date" in fields
    assert len(log.flush(error)) == 1
    assert not server.connections.busy
    assert [(entry.request_id, entry.server_timing) for entry in server.entries] == [("mine", "")]


def test_an_answer_whose_body_is_text_is_an_error(log: Log) -> None:
    """Detected after its head was encoded."""
    client = WireServer(endpoint=_text).connect()
    client.send(TARGETS[0])
    assert client.statuses == [500]
    assert len(log.flush(TypeError)) == 1


@pytest.mark.parametrize("data", TARGETS)
@pytest.mark.parametrize("status", [200, 204, 304])
def test_an_answer_that_has_no_body_sends_none(
    status: int, data: bytes, front_end: FrontEnd
) -> None:
    """A client would read bytes after the head as the next answer; HEAD has the length of GET."""
    if status == 200 and not data.startswith(b"HEAD"):
        return
    answer = HTTPResponse(status, b"body\n")
    client = WireServer(front_end, endpoint=lambda _: succeed(answer)).connect()
    client.send(data, data)
    heads = client.received.split(b"\r\n\r\n")
    assert len(heads) == 3
    assert all(head.startswith(b"HTTP/1.1 %d " % status) for head in heads[:2])
    assert heads[2] == b""
    assert (b"Content-Length: 5" in heads[0]) == (status != 204)
