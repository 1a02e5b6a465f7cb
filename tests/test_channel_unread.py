"""Clients that do not read their answers: server/http/channel.py."""

from collections.abc import Callable

import pytest
from twisted.internet.defer import succeed

from server.http.connections import LINGER_SECONDS
from server.http.messages import HTTPResponse, Route
from server.http.router import Router
from tests.fakes.http import SlowClient, request
from tests.fakes.site import EchoServer

TIMEOUT = 8.0
KIB = 1024
#: Bytes that a transport buffers before it pauses its producer.
FULL = 64 * KIB
ANSWER = 100 * KIB


pytestmark = pytest.mark.usefixtures("log")


def cut_off(client: SlowClient) -> bool:
    """Return whether the server aborted the connection."""
    return client.transport.aborted


# --- memory


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("segment", [100, FULL])
@pytest.mark.parametrize("body", [b"", b"body"])
def test_the_server_stops_reading_a_client_that_reads_nothing(
    at_once: bool, segment: int, body: bytes
) -> None:
    """Its unsent answers and its buffered requests stay bounded."""
    server = EchoServer(at_once=at_once)
    client = server.connect_slow()
    data = request("POST" if body else "GET", body=body) * 5000
    client.send(data[:FULL], segment)
    server.resource.answer_all()
    client.send(data[FULL:], segment)
    server.resource.answer_all()
    assert FULL < client.transport.unsent < FULL + KIB
    assert len(client.unsent) > len(data) - 3 * FULL
    assert client.channel.connection.busy
    assert server.limits.held == 0


@pytest.mark.parametrize("segment", [100, FULL])
@pytest.mark.parametrize("step", [10 * KIB, 1 << 40])
@pytest.mark.parametrize("body", [b"", b"body"])
def test_a_client_that_reads_late_gets_all_its_answers_in_order(
    segment: int, step: int, body: bytes
) -> None:
    """However many requests it sent ahead, and however much it reads at a time."""
    server = EchoServer()
    client = server.connect_slow()
    targets = [f"/{number}" for number in range(1500)]
    client.send(b"".join(request("POST", target, body) for target in targets), segment)
    while client.unsent or client.transport.unsent:
        client.read(step)
    bodies = [answer.body.decode() for answer in client.read_all()]
    assert bodies == [f"POST {target} {body.decode()}" for target in targets]
    assert server.when_quiet() == [None]
    assert not client.channel.connection.busy


def test_nothing_is_read_ahead_during_an_answer_in_parts() -> None:
    """Its first part fills the transport, while the request is still being answered."""
    server = EchoServer(at_once=False)
    client = server.connect_slow()
    client.send(request("GET", "/one"))
    waiting = server.resource.waiting.pop()
    waiting.request.write(bytes(ANSWER))
    client.send(request("GET", "/two"))
    assert client.unsent == request("GET", "/two")
    client.read(2 * ANSWER)
    waiting.request.finish()
    client.send(b"")
    assert client.unsent == b""
    assert len(server.resource.waiting) == 1


# --- time


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """After the time that a request may take."""
    server = EchoServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(request("GET"))
    fired = server.when_quiet()
    server.clock.advance(TIMEOUT - 1)
    assert not cut_off(client)
    assert fired == []
    server.clock.advance(1)
    assert cut_off(client)
    assert fired == [None]
    assert not server.site.connections.open
    assert server.clock.getDelayedCalls() == []


def test_a_client_that_stops_reading_is_cut_off() -> None:
    """Reading extends its time, but only while it lasts."""
    server = EchoServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(request("GET"))
    server.clock.advance(TIMEOUT / 2)
    client.read(KIB)
    server.clock.advance(TIMEOUT / 2)
    assert not cut_off(client)
    server.clock.advance(TIMEOUT)
    assert cut_off(client)
    assert not server.site.connections.open


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept", "closed"])
def test_a_client_that_reads_slowly_gets_its_answer(headers: dict[str, str]) -> None:
    """As long as the transport makes progress; a drain waits for it."""
    server = EchoServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(request("GET", headers=headers))
    fired = server.when_quiet()
    for _ in range(ANSWER // (4 * KIB)):
        server.clock.advance(TIMEOUT / 2)
        client.read(4 * KIB)
        assert fired == []
    (answer,) = client.read_all()
    assert answer.body == b"GET / " + bytes(ANSWER)
    assert fired == [None]
    assert bool(server.site.connections.open) == (not headers)


def test_a_client_that_has_read_all_has_the_whole_time_for_the_next_request() -> None:
    """And its connection may be idle in between."""
    server = EchoServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(request("GET"))
    server.clock.advance(TIMEOUT - 1)
    client.read_all()
    server.clock.advance(TIMEOUT - 1)
    client.send(b"GET / HT")
    server.clock.advance(TIMEOUT - 1)
    client.send(b"TP/1.1\r\n\r\n")
    assert len(client.read_all()) == 2
    server.clock.advance(TIMEOUT)
    assert not server.site.connections.open
    assert not cut_off(client)


def test_a_client_that_has_read_all_may_wait_long_for_the_rest() -> None:
    """The time for reading stops when all is read."""
    server = EchoServer(at_once=False)
    client = server.connect_slow()
    client.send(request("GET"))
    waiting = server.resource.waiting.pop()
    waiting.request.write(bytes(ANSWER))
    client.read(2 * ANSWER)
    server.clock.advance(1000)
    assert client.transport.read.endswith(bytes(KIB))
    assert not cut_off(client)
    waiting.request.finish()
    server.clock.advance(TIMEOUT)
    assert not server.site.connections.open


# --- ends


def _closes(_: EchoServer, client: SlowClient) -> None:
    client.send(request("GET", headers={"Connection": "close"}))


def _is_refused(_: EchoServer, client: SlowClient) -> None:
    client.send(b"nonsense\r\n")


def _is_slow(server: EchoServer, client: SlowClient) -> None:
    client.send(b"GET")
    server.clock.advance(TIMEOUT)


def _rests(server: EchoServer, _: SlowClient) -> None:
    server.clock.advance(TIMEOUT)


@pytest.mark.parametrize("end", [_closes, _is_refused, _is_slow, _rests])
@pytest.mark.parametrize("unread", [0, 1, 300, 600], ids="{} answers".format)
def test_every_close_completes_without_a_reader(
    unread: int, end: Callable[[EchoServer, SlowClient], None]
) -> None:
    """However many answers are unread before it, below and above the transport's buffer."""
    server = EchoServer()
    client = server.connect_slow()
    client.send(request("GET", "/" + "x" * 80) * unread)
    end(server, client)
    for _ in range(3):
        server.clock.advance(LINGER_SECONDS)
        server.clock.advance(15)
    assert not server.site.connections.open
    assert server.clock.getDelayedCalls() == []
    assert cut_off(client) == bool(unread or end is not _rests)


@pytest.mark.parametrize("room", [0, 1 << 40], ids=["reads late", "reads"])
def test_a_refusal_after_many_answers_arrives(room: int) -> None:
    """And then the direction to the client is closed."""
    server = EchoServer()
    client = server.connect_slow(room=room)
    client.send(request("GET", "/" + "x" * 80) * 600 + b"nonsense\r\n")
    answers = client.read_all()
    assert [answer.status for answer in answers] == [200] * 600 + [400]
    assert client.transport.half_closed
    server.clock.advance(LINGER_SECONDS)
    assert not server.site.connections.open
    assert not cut_off(client)


def test_a_refusal_that_fills_the_transport_arrives() -> None:
    """The channel that it pauses writes no more, and must not delay the close."""
    server = EchoServer()
    client = server.connect_slow()
    client.send(request("GET"))
    one = client.transport.unsent
    client.send(request("GET") * (FULL // one - 1))
    assert FULL - one < client.transport.unsent <= FULL
    client.send(b"nonsense\r\n")
    assert client.transport.unsent > FULL
    client.send(bytes(FULL))
    assert client.unsent == b""
    assert client.read_all()[-1].status == 400
    assert client.transport.half_closed


@pytest.mark.parametrize("body", [b"", b"body"])
def test_a_client_that_reads_no_early_refusals_is_cut_off(body: bytes) -> None:
    """Many pipelined requests, each refused by its head; a drain must not wait for ever."""
    server = EchoServer()
    server.site.router = Router(
        [
            Route(
                "POST",
                "/",
                lambda _: succeed(HTTPResponse(200, b"")),
                preflight=lambda _: HTTPResponse(429, bytes(100)),
            )
        ]
    )
    client = server.connect_slow()
    client.send(request("POST", "/", body) * 5000)
    quiet = server.when_quiet()
    for _ in range(4):
        server.clock.advance(8.0)
    assert client.transport.aborted
    assert quiet == [None]


# --- sending at once


@pytest.mark.parametrize("room", [0, 10, 1 << 20])
def test_an_answer_is_sent_at_once_as_far_as_there_is_room(room: int) -> None:
    """Not at the reactor's next turn; the rest waits for room."""
    client = EchoServer().connect_slow(room=room)
    client.channel.dataReceived(request("GET", "/one"))
    assert bool(client.transport.read) == bool(room)
    assert bool(client.transport.unsent) == (room < 1 << 20)
    assert [answer.body for answer in client.read_all()] == [b"GET /one "]


def test_an_answer_waits_for_what_was_written_before_it() -> None:
    """Such as a 100, which the reactor sends at its next turn."""
    client = EchoServer().connect_slow(room=1 << 20)
    headers = {"Expect": "100-continue"}
    client.channel.dataReceived(request("POST", "/two", b"body", headers))
    assert client.transport.read == b""
    client.read(0)
    interim, _, answer = bytes(client.transport.read).partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 100 Continue"
    assert answer.endswith(b"POST /two body")


def test_nothing_bypasses_encryption() -> None:
    """After `startTLS`, bytes sent directly would not be encrypted."""
    client = EchoServer().connect_slow(room=1 << 20)
    client.transport.TLS = True
    client.channel.dataReceived(request("GET", "/one"))
    assert client.transport.read == b""
    assert client.transport.unsent
