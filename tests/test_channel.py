"""Connections that serve one request after another, on time: server/http/channel.py."""

import pytest

from server.http.request import request_id_from
from tests.fakes.http import chunk, request
from tests.fakes.site import EchoServer

TIMEOUT = 8.0


pytestmark = pytest.mark.usefixtures("log")


# --- one request after another


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_connection_is_kept_for_the_next_request(at_once: bool, cut: int) -> None:
    """With and without a body, in segments of any size, answered at once or later."""
    server = EchoServer(at_once=at_once)
    client = server.connect()
    requests = (
        request("GET", "/one"),
        request("POST", "/two", b"body"),
        request(
            "POST",
            "/three",
            chunk(b"bo") + chunk(b"dy") + chunk(b""),
            {"Transfer-Encoding": "chunked"},
        ),
        request("GET", "/four"),
    )
    for data in requests:
        client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
        server.resource.answer_all()
        assert client.is_open()
        assert not client.channel.connection.busy
    assert client.statuses == [200] * 4
    assert [answer.body for answer in client.answers] == [
        b"GET /one ",
        b"POST /two body",
        b"POST /three body",
        b"GET /four ",
    ]
    assert server.limits.held == 0


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_pipelined_requests_are_answered_in_their_order(at_once: bool, cut: int) -> None:
    """No request is processed before the previous one is answered."""
    server = EchoServer(at_once=at_once)
    client = server.connect()
    data = request("POST", "/one", b"1") + request("GET", "/two") + request("POST", "/three", b"3")
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    if not at_once:
        assert len(server.resource.waiting) == 1
        server.resource.answer_all()
    assert [answer.body for answer in client.answers] == [
        b"POST /one 1",
        b"GET /two ",
        b"POST /three 3",
    ]
    assert client.is_open()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
        request("GET", headers={"Connection": "close"}),
        request("POST", body=b"hi", headers={"Connection": "close"}),
    ],
)
def test_a_connection_closes_after_the_last_request(data: bytes) -> None:
    """A request in HTTP/1.0, or with Connection: close."""
    server = EchoServer()
    client = server.connect()
    client.send(data)
    assert client.statuses == [200]
    assert client.transport.disconnecting
    server.clock.advance(0)
    assert not server.site.connections.open


def test_what_follows_the_last_request_is_not_served() -> None:
    """The client has announced that it sends no more."""
    server = EchoServer()
    client = server.connect()
    client.send(request("GET", "/one", headers={"Connection": "close"}) + request("GET", "/two"))
    assert [answer.body for answer in client.answers] == [b"GET /one "]
    assert server.when_quiet() == [None]


@pytest.mark.parametrize("data", [request("GET"), b"GET / HT", b"nonsense\r\n"])
def test_bytes_after_a_close_are_ignored(data: bytes) -> None:
    """A connection under TLS may still receive bytes while it closes."""
    server = EchoServer()
    client = server.connect()
    server.site.connections.close_idle()
    client.send(data)
    assert server.when_quiet() == [None]
    server.clock.advance(0)
    assert client.received == b""
    assert server.clock.getDelayedCalls() == []


# --- time


@pytest.mark.parametrize(
    "before",
    [
        (),
        (request("GET"),),
        (request("POST", body=b"hello"),),
        (request("POST", body=b"hello") + b"\r\n",),
        (request("GET"), request("POST", body=b"hello")),
        (b"\r\n",),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_idle_connection_is_closed_without_an_answer(
    before: tuple[bytes, ...], at_once: bool
) -> None:
    """A client would read a 408 as the answer to a request that it sends at that moment."""
    server = EchoServer(at_once=at_once)
    client = server.connect()
    for data in before:
        client.send(data)
        server.resource.answer_all()
    answered = client.received
    server.clock.advance(TIMEOUT / 2)
    assert client.is_open()
    server.clock.advance(TIMEOUT / 2)
    assert client.received == answered
    assert client.transport.disconnecting


def test_an_idle_connection_that_does_not_close_is_cut_off() -> None:
    """Its client may have vanished without closing."""
    server = EchoServer()
    client = server.connect(closes=False)
    server.clock.advance(TIMEOUT)
    assert not client.transport.aborted
    server.clock.advance(16)
    assert client.transport.aborted


_HALVES = {
    "a byte": b"G",
    "half a line": b"GET / HT",
    "a line": b"GET / HTTP/1.1\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: local",
    "a head": b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    "half a body": b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf",
    "half a chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
    "no last chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"half"),
}


@pytest.mark.parametrize("before", [b"", request("GET"), request("POST", body=b"hello")])
@pytest.mark.parametrize("joined", [True, False], ids=["one segment", "two segments"])
@pytest.mark.parametrize("half", _HALVES.values(), ids=_HALVES.keys())
def test_a_request_that_does_not_arrive_in_time_gets_408(
    half: bytes, joined: bool, before: bytes
) -> None:
    """Wherever it stops, also after other requests; then the connection is closed."""
    server = EchoServer()
    client = server.connect()
    client.send(*([before + half] if joined else filter(None, [before, half])))
    assert client.channel.connection.busy
    server.clock.advance(TIMEOUT)
    answer = client.answers[-1]
    assert answer.status == 408
    assert answer.error == "the request did not arrive within 8 seconds"
    assert answer.headers["connection"] == "close"
    assert client.transport.half_closed
    server.clock.advance(2.0)
    assert not server.site.connections.open
    assert server.limits.held == 0


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nX-Slow: ", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"],
    ids=["head", "body"],
)
def test_a_byte_now_and_then_does_not_hold_a_connection(start: bytes) -> None:
    """The limit holds for the whole request, from its first byte on."""
    server = EchoServer()
    client = server.connect()
    server.clock.advance(TIMEOUT - 1)
    client.send(start)
    for _ in range(int(TIMEOUT) - 1):
        server.clock.advance(1)
        client.send(b"x")
    assert client.received == b""
    server.clock.advance(1)
    assert client.answer.status == 408


@pytest.mark.parametrize("before", [b"", request("GET"), request("POST", body=b"hello") + b"\r\n"])
@pytest.mark.parametrize("drop", [b" ", b"\t", b"\n", b"\r"], ids=repr)
def test_blanks_do_not_hold_a_connection_for_ever(drop: bytes, before: bytes) -> None:
    """They start the time of a request; when it is over, there is no request to answer."""
    server = EchoServer()
    client = server.connect()
    client.send(*filter(None, [before]))
    answered = client.received
    for _ in range(int(TIMEOUT)):
        client.send(drop)
        server.clock.advance(1)
    assert not client.is_open()
    assert client.received == answered


def test_a_line_end_takes_no_time_from_the_next_request() -> None:
    """Some clients send one after a body; the next request may arrive much later."""
    server = EchoServer()
    client = server.connect()
    client.send(request("POST", body=b"hello"), b"\r\n")
    server.clock.advance(TIMEOUT - 1)
    client.send(b"GET / HT")
    server.clock.advance(TIMEOUT - 1)
    client.send(b"TP/1.1\r\n\r\n")
    assert client.statuses == [200, 200]


def test_each_request_has_the_whole_time() -> None:
    """Without the time of the previous request and of its answer."""
    server = EchoServer(at_once=False)
    client = server.connect()
    for number in range(3):
        data = request("POST", body=b"hello")
        client.send(data[:9])
        server.clock.advance(TIMEOUT - 1)
        client.send(data[9:])
        server.clock.advance(1000)
        assert client.statuses == [200] * number
        server.resource.answer_all()
        server.clock.advance(TIMEOUT - 1)
    assert client.statuses == [200] * 3
    assert client.is_open()


def test_the_time_of_a_pipelined_request_starts_when_it_is_processed() -> None:
    """Until then the server did not read the rest of it."""
    server = EchoServer(at_once=False)
    client = server.connect()
    client.send(request("GET") + b"GET / HT")
    server.clock.advance(1000)
    server.resource.answer_all()
    server.clock.advance(TIMEOUT - 1)
    assert client.statuses == [200]
    server.clock.advance(1)
    assert client.statuses == [200, 408]


def test_the_answer_of_a_pipelined_request_may_take_any_time() -> None:
    """Although its request was complete before the previous answer."""
    server = EchoServer(at_once=False)
    client = server.connect()
    client.send(request("GET", "/one") + request("GET", "/two"))
    server.resource.waiting.pop(0).answer()
    server.clock.advance(1000)
    assert client.is_open()
    server.resource.answer_all()
    assert client.statuses == [200, 200]


# --- request ids


@pytest.mark.parametrize("own", ["a", "!~", "0f-" * 42, "x" * 128])
def test_a_clients_own_request_id_is_kept(own: str) -> None:
    """If it is printable and short."""
    assert request_id_from(own) == own


@pytest.mark.parametrize(
    "own", [None, "", " ", "a b", "x" * 129, "a\r\nb", "a\n", "\x7f", "é", "\0"]
)
def test_any_other_request_gets_a_new_id(own: str | None) -> None:
    """A different one each time, which is itself a valid id."""
    first, second = request_id_from(own), request_id_from(own)
    assert own not in (first, second)
    assert first != second
    assert request_id_from(first) == first


@pytest.mark.parametrize("own", [b"\xff", b"\xc3\xa9", b"\x80"])
def test_an_id_that_is_not_ascii_is_replaced(own: bytes) -> None:
    """Such bytes of a client must not get into the log."""
    server = EchoServer()
    client = server.connect()
    client.send(b"GET / HTTP/1.1\r\nX-Request-Id: " + own + b"\r\n\r\n")
    assert client.statuses == [200]
    assert request_id_from(server.resource.ids[0]) == server.resource.ids[0]


# --- idle connections


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("rest", [b"", b"\r\n"])
def test_a_site_is_quiet_when_all_requests_are_answered(at_once: bool, rest: bytes) -> None:
    """Idle connections do not count, nor does a line end after a body."""
    server = EchoServer(at_once=at_once)
    server.connect()
    client = server.connect()
    data = request("POST", body=b"hello") + rest
    client.send(data[:5])
    fired = server.when_quiet()
    assert not fired
    client.send(data[5:])
    assert bool(fired) == at_once
    server.resource.answer_all()
    assert fired == [None]
    assert server.when_quiet() == [None]


@pytest.mark.parametrize("sent", [b"GET", request("GET"), request("POST", body=b"1") + b"GET"])
def test_a_site_is_quiet_when_the_last_busy_client_hangs_up(sent: bytes) -> None:
    """Its request needs no answer any more."""
    server = EchoServer(at_once=False)
    client = server.connect()
    client.send(sent)
    fired = server.when_quiet()
    assert not fired
    client.hang_up()
    assert fired == [None]
    assert not server.site.connections.open


def test_a_refused_request_does_not_delay_a_drain() -> None:
    """It has its answer, though its connection lingers."""
    server = EchoServer()
    client = server.connect()
    client.send(b"GET")
    fired = server.when_quiet()
    client.send(b"\r\n")
    assert client.statuses == [400]
    assert fired == [None]


def test_close_idle_keeps_busy_connections() -> None:
    """Connections that send a request or wait for an answer; the others are closed."""
    server = EchoServer(at_once=False)
    idle, sending, waiting, served = (server.connect() for _ in range(4))
    sending.send(b"GET / HT")
    waiting.send(request("GET"))
    served.send(request("POST", body=b"hello"))
    server.resource.waiting.pop().answer()
    server.site.connections.close_idle()
    server.clock.advance(0)
    assert [client.is_open() for client in (idle, sending, waiting, served)] == [
        False,
        True,
        True,
        False,
    ]
    assert server.site.connections.accepted == 4
    assert len(server.site.connections.open) == 2


def test_close_idle_leaves_time_to_read_a_refusal() -> None:
    """A client that is still sending would see a reset instead."""
    server = EchoServer()
    client = server.connect()
    client.send(b"nonsense\r\n")
    server.site.connections.close_idle()
    assert client.is_open()
    server.clock.advance(2.0)
    assert not client.is_open()


def test_abort_all_cuts_every_connection_off() -> None:
    """Idle, receiving or answering."""
    server = EchoServer(at_once=False)
    clients = [server.connect() for _ in range(3)]
    clients[1].send(b"GET / HT")
    clients[2].send(request("POST", body=b"hello"))
    server.site.connections.abort_all()
    server.clock.advance(0)
    assert all(client.transport.aborted for client in clients)
    assert not server.site.connections.open
    assert server.limits.held == 0
