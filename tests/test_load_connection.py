"""One connection to the server under test: scripts/load/connection.py."""

import pytest
from OpenSSL.SSL import Error as TLSError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from scripts.load.connection import MAX_DETAIL_BYTES, Connection
from scripts.load.exchange import Exchange
from tests.fakes.load import FakeTransport, plain


class ConnectionHarness:
    """A connection with its transport; records the calls to its owner."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connection = Connection(self, self.clock.seconds)
        self.transport = FakeTransport(self.clock, self.connection)
        self.events: list[tuple[str, Exchange | None, str]] = []
        self.connection.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # Twisted's

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """Record the call."""
        assert connection is self.connection
        self.events.append(("answered", exchange, ""))

    def lost(self, connection: Connection, exchange: Exchange | None, reason: str) -> None:
        """Record the call."""
        assert connection is self.connection
        self.events.append(("lost", exchange, reason))

    def ask(self) -> Exchange:
        """Send a request."""
        exchange = Exchange(b"request", 0.0, 0.0, lambda _: None)
        self.connection.send(exchange)
        return exchange

    def asked(self, *pieces: bytes) -> Exchange:
        """Send a request and answer with *pieces*."""
        exchange = self.ask()
        self.transport.send(*pieces)
        return exchange


CHUNKED = (
    b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n"
)

LAST = "Connection: close\r\n"


@pytest.fixture
def harness() -> ConnectionHarness:
    """A connection that has just been made."""
    return ConnectionHarness()


def test_small_requests_are_sent_at_once(harness: ConnectionHarness) -> None:
    """Unchanged, and without Nagle's delay."""
    harness.ask()
    assert harness.transport.no_delay
    assert harness.transport.requests == [b"request"]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_answer_may_come_in_pieces(harness: ConnectionHarness, size: int) -> None:
    """It ends with its last byte."""
    answer = plain(b"busy", "503 Busy", "Server-Timing: queue;dur=1\r\n")
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    exchange = harness.asked(*pieces[:-1])
    assert harness.events == []
    harness.clock.advance(2)
    harness.transport.send(pieces[-1])
    assert harness.events == [("answered", exchange, "")]
    assert (exchange.status, exchange.timing, exchange.detail) == (503, b"queue;dur=1", "busy")
    assert exchange.ended == 2.0
    assert harness.connection.reusable


def test_a_connection_brings_one_answer_after_the_other(harness: ConnectionHarness) -> None:
    """No part of one answer appears in the next."""
    first = harness.asked(plain(b"no", "404 Not Found", "Server-Timing: run;dur=1\r\n"))
    second = harness.asked(plain(b"yes"))
    assert (first.status, first.detail, first.timing) == (404, "no", b"run;dur=1")
    assert (second.status, second.detail, second.timing) == (200, "", b"")
    assert harness.connection.answers == 2


@pytest.mark.parametrize(
    ("answer", "status", "detail", "reusable"),
    [
        (CHUNKED, 429, "slow down", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(), 200, "", True),
        (b"HTTP/1.1 103 Early\r\nServer-Timing: run;dur=9\r\n\r\n" + plain(), 200, "", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "", True),
        (plain(head=LAST), 200, "", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "", False),
        (plain(b"x" * 1000, "500 Broken"), 500, "x" * MAX_DETAIL_BYTES, True),
        (plain(b"\xff!", "500 Broken"), 500, "\N{REPLACEMENT CHARACTER}!", True),
        (plain(b"no", "400 Bad", LAST), 400, "no", False),
    ],
)
def test_answers_of_every_form_are_read(
    answer: bytes, status: int, detail: str, reusable: bool
) -> None:
    """
    Whether in one piece or byte by byte.

    If the server asks to close, the client aborts: the rest of a long request may never be read.
    """
    for pieces in ([answer], [bytes([byte]) for byte in answer]):
        fresh = ConnectionHarness()
        exchange = fresh.asked(*pieces)
        assert fresh.events == [("answered", exchange, "")]
        assert (exchange.status, exchange.detail, exchange.timing) == (status, detail, b"")
        assert fresh.connection.reusable is reusable
        assert fresh.transport.ending == ("" if reusable else "aborted")


def test_all_headers_of_timing_count(harness: ConnectionHarness) -> None:
    """A proxy adds one of its own, in front or behind."""
    head = "Server-Timing: queue;dur=1\r\nserver-timing: edge;dur=2\r\n"
    assert harness.asked(plain(head=head)).timing == b"queue;dur=1, edge;dur=2"


def test_an_answer_without_a_length_ends_with_the_connection(harness: ConnectionHarness) -> None:
    """That is an answer, and then the end."""
    exchange = harness.asked(b"HTTP/1.1 503 Busy\r\n\r\nlat", b"er")
    assert harness.events == []
    harness.clock.advance(1)
    harness.transport.hang_up()
    assert harness.events == [
        ("answered", exchange, ""),
        ("lost", None, "the server closed the connection without an answer"),
    ]
    assert (exchange.status, exchange.detail, exchange.ended) == (503, "later", 1.0)
    assert not harness.connection.reusable


BROKE = "the connection broke before the answer"
CLOSED = "the server closed the connection without an answer"
HALF = "the server closed the connection in the middle of the answer"
OPEN_END = b"HTTP/1.1 200 OK\r\n\r\nsome of it"


@pytest.mark.parametrize(
    ("received", "error", "reason"),
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
    harness: ConnectionHarness, received: bytes, error: Exception, reason: str
) -> None:
    """Its exchange is returned to the owner, with the reason."""
    exchange = harness.asked(*[received] if received else [])
    harness.transport.hang_up(error)
    (events,) = harness.events
    assert events[:2] == ("lost", exchange)
    assert events[2].startswith(reason)
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
def test_what_is_not_http_ends_the_connection(harness: ConnectionHarness, answer: bytes) -> None:
    """At once, with the reason."""
    exchange = harness.asked(answer)
    assert harness.transport.ending == "aborted"
    harness.clock.advance(0)
    (events,) = harness.events
    assert events[:2] == ("lost", exchange)
    assert events[2].startswith("the answer is not HTTP: ")


@pytest.mark.parametrize(
    "more", [b"garbage", plain(b"unasked", "500 Broken"), b"HTTP/1.1 500", plain() * 3]
)
@pytest.mark.parametrize("head", ["", LAST])
def test_what_follows_an_answer_is_not_a_part_of_it(
    harness: ConnectionHarness, more: bytes, head: str
) -> None:
    """The answer counts, and the connection is not used again."""
    exchange = harness.asked(plain(head=f"Server-Timing: run;dur=1\r\n{head}") + more)
    assert harness.events == [("answered", exchange, "")]
    assert (exchange.status, exchange.detail, exchange.timing) == (200, "", b"run;dur=1")
    assert not harness.connection.reusable
    assert harness.transport.ending


@pytest.mark.parametrize("answers", [0, 1])
def test_data_without_a_request_ends_the_connection(
    harness: ConnectionHarness, answers: int
) -> None:
    """Some servers send a last message before they close."""
    for _ in range(answers):
        harness.asked(plain())
    harness.transport.send(plain(b"", "408 Request Timeout"))
    assert harness.transport.ending == "aborted"
    assert not harness.connection.reusable
    harness.clock.advance(0)
    assert [what for what, _, _ in harness.events] == ["answered"] * answers + ["lost"]
    assert harness.events[-1][1] is None


def test_a_kept_connection_without_a_byte_of_an_answer_is_stale(harness: ConnectionHarness) -> None:
    """A fresh one is not, nor is one that has begun to answer."""
    stale = []
    for answer in (plain(), b"H"):
        harness.ask()
        stale.append(harness.connection.stale)
        harness.transport.send(answer)
    assert [*stale, harness.connection.stale] == [False, True, False]


def test_an_exchange_that_was_given_up_is_never_handed_back(harness: ConnectionHarness) -> None:
    """Not even if its answer still comes."""
    harness.ask()
    harness.connection.abort()
    assert harness.transport.ending == "aborted"
    harness.connection.dataReceived(plain())
    harness.clock.advance(0)
    assert [(what, exchange) for what, exchange, _ in harness.events] == [("lost", None)]


def test_a_free_connection_is_closed_in_good_order(harness: ConnectionHarness) -> None:
    """Its owner is notified of the end."""
    harness.connection.close()
    assert harness.transport.ending == "closed"
    harness.clock.advance(0)
    assert [what for what, _, _ in harness.events] == ["lost"]
