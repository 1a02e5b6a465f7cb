"""Clients that do not read their answers, and what is sent at once: server/http/, any front end."""

from collections.abc import Callable

import pytest

from server.http.connection import ABORT_SECONDS, LINGER_SECONDS
from tests.fakes.http import SlowClient, head, request
from tests.fakes.wire import WireServer
from tests.wire_cases import GET, POST, TIMEOUT

KIB = 1024
#: Bytes that a transport buffers before it pauses its producer.
FULL = 64 * KIB
ANSWER = 100 * KIB
BAD = b"nonsense\r\n"
BUSY = request(target="/busy", body=bytes(100))
LONG_POST = request(body=bytes(80))

pytestmark = pytest.mark.usefixtures("log")


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("segment", [100, FULL])
@pytest.mark.parametrize("data", [GET, POST, BUSY, head("Content-Length: 0", target="/busy")])
def test_the_server_stops_reading_a_client_that_reads_nothing(
    later: bool, segment: int, data: bytes
) -> None:
    """Its unsent answers and its buffered requests stay bounded; then it is cut off."""
    server = WireServer(later=later)
    client = server.connect_slow()
    whole = data * 3000
    client.send(whole[:FULL], segment)
    server.answer_all()
    client.send(whole[FULL:], segment)
    server.answer_all()
    assert FULL < client.transport.unsent < FULL + 2 * KIB
    assert len(client.unsent) > len(whole) - 3 * FULL
    assert server.connections.busy
    assert server.limits.held == 0
    quiet = server.when_quiet()
    server.clock.advance(TIMEOUT - 1)
    assert (client.transport.aborted, quiet) == (False, [])
    server.clock.advance(1)
    assert (client.transport.aborted, quiet, server.is_clean()) == (True, [None], True)


@pytest.mark.parametrize("segment", [100, FULL])
@pytest.mark.parametrize("step", [10 * KIB, 1 << 40])
def test_a_client_that_reads_late_gets_all_its_answers_in_order(segment: int, step: int) -> None:
    """However many requests it sent ahead, and however much it reads at a time."""
    server = WireServer()
    client = server.connect_slow()
    numbers = range(600)
    data = [request(body=b"%d" % n) + request(target="/busy", body=b"x") for n in numbers]
    client.send(b"".join(data), segment)
    assert client.unsent
    while client.unsent or client.transport.unsent:
        client.read(step)
    answers = client.read_all()
    assert [answer.body for answer in answers[::2]] == [b"%d" % n for n in numbers]
    assert {answer.status for answer in answers[1::2]} == {429}
    assert server.when_quiet() == [None]


# --- time


def test_a_client_that_stops_reading_is_cut_off() -> None:
    """Reading extends its time, but only while it lasts."""
    server = WireServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(GET)
    server.clock.advance(TIMEOUT / 2)
    client.read(KIB)
    server.clock.advance(TIMEOUT / 2)
    aborted = [client.transport.aborted]
    server.clock.advance(TIMEOUT)
    assert [*aborted, client.transport.aborted] == [False, True]
    assert not server.connections.open


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept", "closed"])
def test_a_client_that_reads_slowly_gets_its_answer(headers: dict[str, str]) -> None:
    """As long as the transport makes progress; a drain waits for it."""
    server = WireServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(request("GET", "/state", headers=headers))
    fired = server.when_quiet()
    for _ in range(ANSWER // (4 * KIB)):
        server.clock.advance(TIMEOUT / 2)
        client.read(4 * KIB)
        assert fired == []
    (answer,) = client.read_all()
    assert answer.body == bytes(ANSWER)
    assert fired == [None]
    assert bool(server.connections.open) == (not headers)


def test_a_client_that_has_read_all_has_the_whole_time_for_the_next_request() -> None:
    """And its connection may be idle in between."""
    server = WireServer(padding=ANSWER)
    client = server.connect_slow()
    client.send(GET + GET)
    server.clock.advance(TIMEOUT - 1)
    client.read_all()
    server.clock.advance(TIMEOUT - 1)
    client.send(GET[:9])
    server.clock.advance(TIMEOUT - 1)
    client.send(GET[9:])
    assert len(client.read_all()) == 3
    server.clock.advance(TIMEOUT)
    assert not server.connections.open
    assert not client.transport.aborted


# --- ends


def _closes(_: WireServer, client: SlowClient) -> None:
    client.send(request("GET", "/state", headers={"Connection": "close"}))


def _is_refused(_: WireServer, client: SlowClient) -> None:
    client.send(BAD)


def _is_slow(server: WireServer, client: SlowClient) -> None:
    client.send(b"GET")
    server.clock.advance(TIMEOUT)


def _rests(server: WireServer, _: SlowClient) -> None:
    server.clock.advance(TIMEOUT)


@pytest.mark.parametrize("end", [_closes, _is_refused, _is_slow, _rests])
@pytest.mark.parametrize("unread", [0, 1, 300, 600], ids="{} answers".format)
def test_every_close_completes_without_a_reader(
    unread: int, end: Callable[[WireServer, SlowClient], None]
) -> None:
    """However many answers are unread before it, below and above the transport's buffer."""
    server = WireServer()
    client = server.connect_slow()
    client.send(LONG_POST * unread)
    end(server, client)
    server.clock.advance(LINGER_SECONDS)
    server.clock.advance(ABORT_SECONDS - LINGER_SECONDS - 1)
    assert not client.transport.aborted or unread > 1
    for _ in range(3):
        server.clock.advance(LINGER_SECONDS)
        server.clock.advance(ABORT_SECONDS)
    assert server.is_clean()
    assert client.transport.aborted == bool(unread or end is not _rests)


@pytest.mark.parametrize("room", [0, 1 << 40], ids=["reads late", "reads"])
def test_a_refusal_after_many_answers_arrives(room: int) -> None:
    """And then the direction to the client is closed."""
    server = WireServer()
    client = server.connect_slow(room=room)
    client.send(LONG_POST * 600 + BAD)
    answers = client.read_all()
    assert [answer.status for answer in answers] == [200] * 600 + [400]
    assert client.transport.half_closed
    server.clock.advance(LINGER_SECONDS)
    assert not server.connections.open
    assert not client.transport.aborted


def test_a_refusal_that_fills_the_transport_arrives() -> None:
    """The channel that it pauses writes no more, and must not delay the close."""
    server = WireServer()
    client = server.connect_slow()
    client.send(GET)
    one = client.transport.unsent
    client.send(GET * (FULL // one - 1))
    assert FULL - one < client.transport.unsent <= FULL
    client.send(BAD)
    assert client.transport.unsent > FULL
    client.send(bytes(FULL))
    assert client.unsent == b""
    assert client.read_all()[-1].status == 400
    assert client.transport.half_closed


# --- sending at once


@pytest.mark.parametrize("room", [0, 10, 1 << 20])
def test_an_answer_is_sent_at_once_as_far_as_there_is_room(room: int) -> None:
    """Not at the reactor's next turn; the rest waits for room."""
    client = WireServer().connect_slow(room=room)
    client.protocol.dataReceived(POST)
    assert bool(client.transport.read) == bool(room)
    assert bool(client.transport.unsent) == (room < 1 << 20)
    assert [answer.body for answer in client.read_all()] == [b"hello"]


def test_an_answer_waits_for_what_was_written_before_it() -> None:
    """Such as a 100, which the reactor sends at its next turn."""
    client = WireServer().connect_slow(room=1 << 20)
    whole = request("POST", "/", b"body", {"Expect": "100-continue"})
    client.protocol.dataReceived(whole[:-4])
    client.protocol.dataReceived(whole[-4:])
    assert client.transport.read == b""
    assert [answer.status for answer in client.read_all()] == [100, 200]


def test_nothing_bypasses_encryption() -> None:
    """After `startTLS`, bytes sent directly would not be encrypted."""
    client = WireServer().connect_slow(room=1 << 20)
    client.transport.TLS = True
    client.protocol.dataReceived(GET)
    assert client.transport.read == b""
    assert client.transport.unsent
