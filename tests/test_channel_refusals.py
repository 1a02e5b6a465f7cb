"""Requests that are refused before they are complete: server/http/channel.py."""

from collections.abc import Callable

import pytest

from server.http.connections import LINGER_SECONDS
from tests.fakes.http import Client, HalfCloseable, PlainTransport, chunk, request
from tests.fakes.site import EchoServer

pytestmark = pytest.mark.usefixtures("log")


def head(*lines: str, method: str = "POST") -> bytes:
    """Return the head of a request."""
    return "\r\n".join((f"{method} / HTTP/1.1", *lines, "", "")).encode()


DECLARED = head("Content-Length: 100")
CHUNKED = head("Transfer-Encoding: chunked")

# --- bodies


@pytest.mark.parametrize("cut", [1, 9, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        request(body=bytes(100)),
        CHUNKED + chunk(bytes(100)) + chunk(b""),
        CHUNKED + chunk(bytes(99)) + chunk(b"x") + chunk(b""),
    ],
    ids=["declared", "in one chunk", "in two chunks"],
)
def test_a_body_may_be_as_long_as_the_limit(data: bytes, cut: int) -> None:
    """In segments of any size."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert client.statuses == [200]
    assert server.limits.held == 0


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
def test_a_body_that_is_declared_too_long_is_refused_before_a_byte_of_it(
    expect: tuple[str, ...],
) -> None:
    """A client that expects 100 gets the refusal instead."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(head("Content-Length: 101", "X-Request-Id: mine", *expect))
    answer = client.answer
    assert answer.status == 413
    assert answer.json() == {
        "error": "the body is 101 bytes, the limit is 100",
        "status": 413,
        "request_id": "mine",
    }
    assert answer.headers == {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
        "connection": "close",
        "x-request-id": "mine",
        "server": "TensorFerry",
        "date": answer.headers["date"],
    }
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert client.transport.half_closed
    assert server.resource.ids == []


def test_a_client_that_expects_100_gets_it() -> None:
    """If its body is within the limit."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(head("Content-Length: 100", "Expect: 100-continue"))
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(bytes(100))
    assert client.statuses == [100, 200]


@pytest.mark.parametrize("separately", [True, False])
def test_a_chunked_body_is_refused_where_it_grows_too_long(separately: bool) -> None:
    """At once: before the end of the body and of the chunk."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(CHUNKED)
    client.send(chunk(bytes(100)))
    assert client.received == b""
    assert server.limits.held == 100
    more = [b"5\r\n", b"x", chunk(b"y"), chunk(b"z") * 50]
    client.send(*(more if separately else [b"".join(more)]))
    assert client.answer.status == 413
    assert client.answer.error == "the body is more than 100 bytes, which is the limit"
    assert server.resource.ids == []
    assert server.limits.held == 0
    client.hang_up()
    assert server.limits.held == 0


@pytest.mark.parametrize("kind", [HalfCloseable, PlainTransport], ids=["TCP", "TLS"])
def test_bytes_after_a_refusal_are_discarded(kind: type[PlainTransport]) -> None:
    """While the connection lingers, so that the client sees the answer and no reset."""
    server = EchoServer(max_body=100)
    client = server.connect(kind=kind)
    client.send(head("Content-Length: 1000000"))
    answered = client.received
    for _ in range(8):
        client.send(bytes(1000), b"\r\n\r\n" + request("GET", "/evil"))
        server.clock.advance(LINGER_SECONDS / 16)
    assert client.transport.half_closed == (kind is HalfCloseable)
    assert client.is_open()
    assert client.received == answered
    assert server.limits.held == 0
    server.clock.advance(LINGER_SECONDS / 2)
    assert not server.site.connections.open
    assert server.resource.ids == []
    assert server.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (413, head("Content-Length: 101") + bytes(50)),
        (413, head("Content-Length: 101") + bytes(101)),
        (413, head("Content-Length: 101") + bytes(101) + request("GET")),
        (413, CHUNKED + chunk(bytes(101)) + chunk(b"")),
        (413, CHUNKED + chunk(bytes(90)) + chunk(bytes(11)) + chunk(b"") + request("GET")),
        (429, request(body=bytes(96))),
        (429, CHUNKED + chunk(bytes(96)) + chunk(b"")),
    ],
)
def test_bytes_in_the_segment_of_a_refused_head_are_discarded_too(status: int, data: bytes) -> None:
    """Even the whole body: the request is never served."""
    server = EchoServer(max_body=100, max_held=95)
    client = server.connect()
    client.send(data)
    assert client.statuses == [status]
    assert server.resource.ids == []
    server.clock.advance(LINGER_SECONDS)
    assert server.limits.held == 0


def test_a_connection_lingers_longer_than_a_short_client_timeout() -> None:
    """That timeout limits sending a request, not reading the answer."""
    server = EchoServer(client_timeout=1.0)
    client = server.connect()
    client.send(b"hello\r\n")
    server.clock.advance(LINGER_SECONDS - 0.5)
    assert client.is_open()
    server.clock.advance(0.5)
    assert not client.is_open()


def test_a_client_may_hang_up_after_a_refusal() -> None:
    """No timer remains."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(head("Content-Length: 101"))
    client.hang_up()
    assert server.clock.getDelayedCalls() == []
    assert not server.site.connections.open


# --- all bodies together


def _is_answered(server: EchoServer, client: Client) -> None:
    client.send(bytes(20))
    server.resource.answer_all()


def _hangs_up_while_sending(_: EchoServer, client: Client) -> None:
    client.hang_up()


def _hangs_up_while_waiting(_: EchoServer, client: Client) -> None:
    client.send(bytes(20))
    client.hang_up()


def _is_too_slow(server: EchoServer, _: Client) -> None:
    server.clock.advance(8.0)


def _sends_too_much(_: EchoServer, client: Client) -> None:
    client.send(b"\x80\r\n" + bytes(30))


def _is_cut_off(server: EchoServer, _: Client) -> None:
    server.site.connections.abort_all()
    server.clock.advance(0)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (DECLARED, _is_answered),
        (DECLARED, _hangs_up_while_sending),
        (DECLARED, _hangs_up_while_waiting),
        (DECLARED, _is_too_slow),
        (DECLARED, _is_cut_off),
        (CHUNKED, _is_too_slow),
        (CHUNKED, _sends_too_much),
    ],
)
def test_the_bytes_of_a_body_are_released(
    start: bytes, end: Callable[[EchoServer, Client], None]
) -> None:
    """However its request ends; until then other bodies may get a 429."""
    server = EchoServer(at_once=False, max_body=100, max_held=150)
    first = server.connect()
    first.send(start, bytes(80) if start == DECLARED else chunk(bytes(80)))
    assert server.limits.held == 80
    second = server.connect()
    second.send(CHUNKED + chunk(bytes(70)))
    assert second.received == b""
    second.send(b"1\r\nx")
    assert second.answer.status == 429
    assert second.answer.headers["retry-after"] == "1"
    assert second.answer.error == "the server holds 150 bytes of requests, the limit is 150"
    assert server.limits.held == 80
    second.hang_up()
    assert server.limits.held == 80
    end(server, first)
    assert server.limits.held == 0
    third = server.connect()
    third.send(request(body=bytes(100)))
    server.resource.answer_all()
    assert third.statuses == [200]
    assert server.limits.held == 0


REFUSED_LATE = {
    "too long": (CHUNKED + chunk(bytes(99)) + chunk(b"xx"), 413),
    "no chunk": (CHUNKED + chunk(bytes(99)) + b"many\r\n", 400),
    "many chunks behind": (CHUNKED + chunk(bytes(101)) + chunk(b"x") * 50 + chunk(b""), 413),
    "no path": (request(target="/%ff", body=bytes(100)), 400),
    "too slow": (DECLARED + bytes(99), 408),
}


@pytest.mark.parametrize(("data", "status"), REFUSED_LATE.values(), ids=REFUSED_LATE.keys())
def test_a_refused_body_is_dropped_at_once(data: bytes, status: int) -> None:
    """The lingering connection does not hold it."""
    server = EchoServer(max_body=100)
    client = server.connect()
    client.send(data)
    if status == 408:
        server.clock.advance(8.0)
    assert client.answer.status == status
    assert server.limits.held == 0
    (refused,) = client.channel.requests
    assert refused.content.getvalue() == b""
    client.send(chunk(b"more"))
    assert server.limits.held == 0
    assert refused.content.getvalue() == b""


def test_the_408_of_a_slow_body_has_its_request_id() -> None:
    """The head has arrived, and with it the client's id."""
    server = EchoServer()
    client = server.connect()
    client.send(head("Content-Length: 9", "X-Request-Id: mine"))
    server.clock.advance(8.0)
    assert client.answer.status == 408
    assert client.answer.headers["x-request-id"] == "mine"


# --- heads

NONSENSE = {
    "no HTTP": b"hello\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "too new": b"GET / HTTP/1.2\r\n\r\n",
    "a method that is no word": b"G@T / HTTP/1.1\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\n\r\n",
    "a control character": b"GET /a\x01 HTTP/1.1\r\n\r\n",
    "bytes in the path": b"GET /\xff HTTP/1.1\r\n\r\n",
    "a field without a colon": head("Host localhost"),
    "a field before others": head("Host localhost", "A: b", "C: d"),
    "a field's name": head("Ho st: localhost"),
    "a zero byte": head("A: b\0c"),
    "a length": head("Content-Length: many"),
    "a negative length": head("Content-Length: -1"),
    "two lengths": head("Content-Length: 1", "Content-Length: 1"),
    "two ways to send a body": head("Content-Length: 1", "Transfer-Encoding: chunked"),
    "an encoding": head("Transfer-Encoding: gzip, chunked"),
    "a chunk": CHUNKED + b"many\r\n",
    "a chunk's end": CHUNKED + b"1\r\nxyz\r\n",
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("before", [b"", request("GET"), request(body=b"hello")])
@pytest.mark.parametrize("cut", [1, 10_000])
def test_malformed_requests_are_refused(data: bytes, before: bytes, cut: int) -> None:
    """With JSON, and what follows is never served."""
    server = EchoServer()
    client = server.connect()
    data = before + data + request("GET", "/evil")
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert client.statuses == [200, 400][not before :]
    answer = client.answers[-1]
    assert answer.error == "the head or the framing of this request is not HTTP/1.1"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert client.transport.half_closed
    server.clock.advance(LINGER_SECONDS)
    assert not server.site.connections.open
    assert server.limits.held == 0


LONG_HEADS = {
    "a first line without an end": (b"GET /" + b"x" * 16_400, "a line of the head is over 16384"),
    "a first line": (
        b"GET /" + b"x" * 16_400 + b" HTTP/1.1\r\n",
        "a line of the head is over 16384",
    ),
    "a field": (head("A: " + "x" * 16_400), "a line of the head is over 16384"),
    "a field without an end": (head()[:-2] + b"A" * 16_400, "a line of the head is over 16384"),
    "many long fields": (head(*["A: " + "x" * 1000] * 17), "the head is over 16384 bytes"),
    "many fields": (head(*["A:b"] * 501), "the head has more than 500 fields"),
    "many fields without an end": (head(*["A:b"] * 502)[:-2], "the head has more than 500 fields"),
}


@pytest.mark.parametrize(("data", "error"), LONG_HEADS.values(), ids=LONG_HEADS.keys())
def test_a_head_that_is_too_long_is_refused(data: bytes, error: str) -> None:
    """Without waiting for its end; the answer names the limit."""
    server = EchoServer()
    client = server.connect()
    client.send(request("GET"))
    client.send(data)
    assert client.statuses == [200, 431]
    assert client.answers[-1].error.startswith(error)
    assert client.transport.half_closed
    assert server.resource.ids[1:] == []


@pytest.mark.parametrize("lines", [["A:b"] * 500, ["A: " + "x" * 1000] * 16])
def test_a_long_head_is_accepted(lines: list[str]) -> None:
    """Up to the limits."""
    server = EchoServer()
    client = server.connect()
    client.send(head(*lines, method="GET"), head(*lines, method="GET"))
    assert client.statuses == [200, 200]


# --- paths and ids


@pytest.mark.parametrize("target", ["/%ff", "/%C3", "/a%80b", "/\x80"])
def test_a_path_that_is_not_utf_8_is_refused(target: str) -> None:
    """It would otherwise be a 500, and be logged."""
    server = EchoServer()
    client = server.connect()
    client.send(request(target=target, body=b"body", headers={"X-Request-Id": "mine"}))
    assert client.answer.status == 400
    assert client.answer.error == "the path is not UTF-8"
    assert client.answer.headers["x-request-id"] == "mine"
    server.clock.advance(LINGER_SECONDS)
    assert not server.site.connections.open
    assert server.limits.held == 0


@pytest.mark.parametrize("own", [b"a\rEvil: 1", b"a\tb", b"\x1b[31m", b"x" * 129, b"\xff", b""])
def test_an_unsafe_id_is_not_sent_back(own: bytes) -> None:
    """A new one replaces it, in the header and in the body."""
    server = EchoServer()
    client = server.connect()
    client.send(b"POST / HTTP/1.1\r\nX-Request-Id: " + own + b"\r\nContent-Length: 101\r\n\r\n")
    answer = client.answer
    assert answer.status in (400, 413)
    assert "evil" not in answer.headers
    assert own.strip() != answer.headers["x-request-id"].encode()
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_each_refusal_has_a_new_id() -> None:
    """If the client sent none."""
    ids = set()
    for _ in range(3):
        client = EchoServer().connect()
        client.send(b"hello\r\n")
        ids.add(client.answer.headers["x-request-id"])
    assert len(ids) == 3
