"""One connection to the server under test: scripts/load/connection.py."""

import pytest
from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from scripts.load.connection import KEPT, Connection
from scripts.load.exchange import Exchange
from tests.fakes.load import Wire, plain


class World:
    """A connection, its owner and its server."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connection = Connection(self, self.clock.seconds)
        self.wire = Wire(self.clock, self.connection)
        self.heard: list[tuple[str, Exchange | None, str]] = []
        self.connection.makeConnection(self.wire)  # type: ignore[no-untyped-call]  # Twisted's

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """Note it."""
        assert connection is self.connection
        self.heard.append(("answered", exchange, ""))

    def lost(self, connection: Connection, exchange: Exchange | None, reason: str) -> None:
        """Note it."""
        assert connection is self.connection
        self.heard.append(("lost", exchange, reason))

    def ask(self) -> Exchange:
        """Send a request."""
        exchange = Exchange(b"request", 0.0, 0.0, lambda _: None)
        self.connection.send(exchange)
        return exchange

    def asked(self, *pieces: bytes) -> Exchange:
        """Send a request and answer with *pieces*."""
        exchange = self.ask()
        self.wire.say(*pieces)
        return exchange


CHUNKED = (
    b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n"
)

LAST = "Connection: close\r\n"


@pytest.fixture
def world() -> World:
    """A connection that has just been made."""
    return World()


def test_small_requests_are_sent_at_once(world: World) -> None:
    """As they are, and without waiting for more."""
    world.ask()
    assert world.wire.no_delay
    assert world.wire.requests == [b"request"]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_answer_may_come_in_pieces(world: World, size: int) -> None:
    """Its time is that of its last byte."""
    answer = plain(b"busy", "503 Busy", "Server-Timing: queue;dur=1\r\n")
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    exchange = world.asked(*pieces[:-1])
    assert world.heard == []
    world.clock.advance(2)
    world.wire.say(pieces[-1])
    assert world.heard == [("answered", exchange, "")]
    assert (exchange.status, exchange.timing, exchange.detail) == (503, b"queue;dur=1", "busy")
    assert exchange.ended == 2.0
    assert world.connection.reusable


def test_a_connection_brings_one_answer_after_the_other(world: World) -> None:
    """Nothing of one is left in the next."""
    first = world.asked(plain(b"no", "404 Not Found", "Server-Timing: run;dur=1\r\n"))
    second = world.asked(plain(b"yes"))
    assert (first.status, first.detail, first.timing) == (404, "no", b"run;dur=1")
    assert (second.status, second.detail, second.timing) == (200, "", b"")
    assert world.connection.answers == 2


@pytest.mark.parametrize(
    ("answer", "status", "detail", "reusable"),
    [
        (CHUNKED, 429, "slow down", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(), 200, "", True),
        (b"HTTP/1.1 103 Early\r\nServer-Timing: run;dur=9\r\n\r\n" + plain(), 200, "", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "", True),
        (plain(head=LAST), 200, "", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "", False),
        (plain(b"x" * 1000, "500 Broken"), 500, "x" * KEPT, True),
        (plain(b"\xff!", "500 Broken"), 500, "\N{REPLACEMENT CHARACTER}!", True),
        (plain(b"no", "400 Bad", LAST), 400, "no", False),
    ],
)
def test_answers_of_every_form_are_read(
    answer: bytes, status: int, detail: str, reusable: bool
) -> None:
    """
    Whether in one piece or byte by byte.

    Where the server wants an end, it is at once: it may never read the rest of a long request.
    """
    for pieces in ([answer], [bytes([byte]) for byte in answer]):
        fresh = World()
        exchange = fresh.asked(*pieces)
        assert fresh.heard == [("answered", exchange, "")]
        assert (exchange.status, exchange.detail, exchange.timing) == (status, detail, b"")
        assert fresh.connection.reusable is reusable
        assert fresh.wire.ending == ("" if reusable else "aborted")


def test_all_headers_of_timing_count(world: World) -> None:
    """A proxy adds one of its own, in front or behind."""
    head = "Server-Timing: queue;dur=1\r\nserver-timing: edge;dur=2\r\n"
    assert world.asked(plain(head=head)).timing == b"queue;dur=1, edge;dur=2"


def test_an_answer_without_a_length_ends_with_the_connection(world: World) -> None:
    """That is an answer, and then the end."""
    exchange = world.asked(b"HTTP/1.1 503 Busy\r\n\r\nlat", b"er")
    assert world.heard == []
    world.clock.advance(1)
    world.wire.hang_up()
    assert world.heard == [
        ("answered", exchange, ""),
        ("lost", None, "the server closed the connection without an answer"),
    ]
    assert (exchange.status, exchange.detail, exchange.ended) == (503, "later", 1.0)
    assert not world.connection.reusable


BROKE = "the connection broke before the answer"
CLOSED = "the server closed the connection without an answer"
HALF = "the server closed the connection in the middle of the answer"
OPEN_END = b"HTTP/1.1 200 OK\r\n\r\nsome of it"


@pytest.mark.parametrize(
    ("said", "error", "reason"),
    [
        (b"", ConnectionDone(), CLOSED),
        (b"", ConnectionLost(), BROKE),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionDone(), HALF),
        (plain()[:-1], ConnectionDone(), HALF),
        (CHUNKED[:-5], ConnectionDone(), HALF),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionDone(), HALF),
        (OPEN_END, ConnectionLost(), BROKE),
        (b"", TLSError([("SSL", "", "bad certificate")]), "TLS failed: "),
    ],
)
def test_a_connection_that_ends_too_soon_brought_no_answer(
    world: World, said: bytes, error: Exception, reason: str
) -> None:
    """It hands its exchange back, with the reason in words."""
    exchange = world.asked(*[said] if said else [])
    world.wire.hang_up(error)
    (heard,) = world.heard
    assert heard[:2] == ("lost", exchange)
    assert heard[2].startswith(reason)
    assert exchange.status == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_what_is_not_http_ends_the_connection(world: World, answer: bytes) -> None:
    """At once, and it says why."""
    exchange = world.asked(answer)
    assert world.wire.ending == "aborted"
    world.clock.advance(0)
    (heard,) = world.heard
    assert heard[:2] == ("lost", exchange)
    assert heard[2].startswith("the answer is not HTTP: ")


@pytest.mark.parametrize(
    "more", [b"garbage", plain(b"unasked", "500 Broken"), b"HTTP/1.1 500", plain() * 3]
)
@pytest.mark.parametrize("head", ["", LAST])
def test_what_follows_an_answer_is_not_a_part_of_it(world: World, more: bytes, head: str) -> None:
    """The answer counts as it is, and the connection is of no more use."""
    exchange = world.asked(plain(head=f"Server-Timing: run;dur=1\r\n{head}") + more)
    assert world.heard == [("answered", exchange, "")]
    assert (exchange.status, exchange.detail, exchange.timing) == (200, "", b"run;dur=1")
    assert not world.connection.reusable
    assert world.wire.ending


@pytest.mark.parametrize("answers", [0, 1])
def test_what_nobody_asked_for_ends_the_connection(world: World, answers: int) -> None:
    """Some servers say a last word before they hang up."""
    for _ in range(answers):
        world.asked(plain())
    world.wire.say(plain(b"", "408 Request Timeout"))
    assert world.wire.ending == "aborted"
    assert not world.connection.reusable
    world.clock.advance(0)
    assert [what for what, _, _ in world.heard] == ["answered"] * answers + ["lost"]
    assert world.heard[-1][1] is None


def test_a_kept_connection_without_a_byte_of_an_answer_is_stale(world: World) -> None:
    """A fresh one is not, nor is one that has begun to answer."""
    stale = []
    for answer in (plain(), b"H"):
        world.ask()
        stale.append(world.connection.stale)
        world.wire.say(answer)
    assert [*stale, world.connection.stale] == [False, True, False]


def test_an_exchange_that_was_given_up_is_never_handed_back(world: World) -> None:
    """Its answer, should it still come, is nobody's."""
    world.ask()
    world.connection.abort()
    assert world.wire.ending == "aborted"
    world.connection.dataReceived(plain())
    world.clock.advance(0)
    assert [(what, exchange) for what, exchange, _ in world.heard] == [("lost", None)]


def test_a_free_connection_is_closed_in_good_order(world: World) -> None:
    """It hears of the end."""
    world.connection.close()
    assert world.wire.ending == "closed"
    world.clock.advance(0)
    assert [what for what, _, _ in world.heard] == ["lost"]
