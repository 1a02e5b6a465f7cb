"""The connections to the server under test: scripts/load/pool.py, connection.py."""

from collections.abc import Sequence

import pytest
from OpenSSL.SSL import Error as TLSError
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectBindError, ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.task import Clock

from scripts.load.connection import MAX_DETAIL_BYTES
from scripts.load.exchange import Exchange
from scripts.load.pool import ConnectionPool
from tests.fakes.load import FakeEndpoint, FakeTransport, plain


class PoolHarness:
    """A pool, and the endpoint of its server."""

    def __init__(self, limit: int = 2, timeout: float = 10.0) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(self.clock)
        self.finished: list[Exchange] = []
        self.pool = ConnectionPool(
            self.endpoint, limit=limit, timeout=timeout, seconds=self.clock.seconds
        )

    def send(self, *names: bytes) -> None:
        """Have requests of these *names* sent that are due now."""
        now = self.clock.seconds()
        for name in names:
            self.pool.send(Exchange(name, now, now, self.finished.append))

    def kept(self) -> FakeTransport:
        """Return a connection that has brought one answer."""
        self.send(b"first")
        transport = self.endpoint.accept()
        transport.send(plain())
        assert self.ends() == [(b"first", 200, "")]
        return transport

    def ends(self) -> list[tuple[bytes, int, str]]:
        """Return name, status and reason of each that has finished since it was last asked."""
        found = [(each.request, each.status, each.detail) for each in self.finished]
        self.finished.clear()
        return found


@pytest.fixture
def harness() -> PoolHarness:
    """A pool of two connections at most."""
    return PoolHarness()


# --- answers

CHUNKED = (
    b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n"
)
LAST = "Connection: close\r\n"
TIMED = "Server-Timing: run;dur=1\r\n"
TWICE = "Server-Timing: queue;dur=1\r\nserver-timing: edge;dur=2\r\n"
RUN = b"run;dur=1"

#: Bytes, and the status, the detail and the timing that are read; whether the connection is kept.
ANSWERS = [
    (plain(b"busy", "503 Busy", TIMED), 503, "busy", RUN, True),
    (CHUNKED, 429, "slow down", b"", True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(), 200, "", b"", True),
    (b"HTTP/1.1 103 Early\r\nServer-Timing: run;dur=9\r\n\r\n" + plain(), 200, "", b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "", b"", True),
    (plain(head=LAST), 200, "", b"", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "", b"", False),
    (plain(b"x" * 1000, "500 Broken"), 500, "x" * MAX_DETAIL_BYTES, b"", True),
    (plain(b"\xff!", "500 Broken"), 500, "\N{REPLACEMENT CHARACTER}!", b"", True),
    (plain(b"no", "400 Bad", LAST), 400, "no", b"", False),
    (plain(head=TWICE), 200, "", b"queue;dur=1, edge;dur=2", True),
]  # fmt: skip

#: What follows an answer is not a part of it.
BEHIND = [b"garbage", plain(b"unasked", "500 Broken"), b"HTTP/1.1 500", plain() * 3]


@pytest.mark.parametrize(("answer", "status", "detail", "timing", "kept"), ANSWERS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_answers_of_every_form_are_read(
    harness: PoolHarness,
    answer: bytes,
    status: int,
    detail: str,
    timing: bytes,
    kept: bool,
    size: int,
) -> None:
    """In pieces of any size, on a kept connection; each ends with its last byte."""
    transport = harness.kept()
    assert transport.no_delay
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    harness.send(b"again")
    assert transport.requests == [b"first", b"again"]
    transport.send(*pieces[:-1])
    assert harness.finished == []
    harness.clock.advance(2)
    transport.send(pieces[-1])
    (exchange,) = harness.finished
    assert (exchange.status, exchange.detail, exchange.timing) == (status, detail, timing)
    assert exchange.ended == 2.0
    assert transport.ending == ("" if kept else "aborted")
    harness.clock.advance(0)
    harness.send(b"next")
    assert (transport.requests[2:] == [b"next"]) == kept


@pytest.mark.parametrize("more", BEHIND)
@pytest.mark.parametrize("head", [TIMED, TIMED + LAST])
def test_what_follows_an_answer_is_not_a_part_of_it(
    harness: PoolHarness, more: bytes, head: str
) -> None:
    """The answer counts, and the connection is not used again."""
    harness.send(b"a")
    transport = harness.endpoint.accept()
    transport.send(plain(head=head) + more)
    (exchange,) = harness.finished
    assert (exchange.status, exchange.detail, exchange.timing) == (200, "", RUN)
    assert transport.ending
    harness.send(b"b")
    assert harness.endpoint.accept().requests == [b"b"]


BROKE = "the connection broke before the answer"
CLOSED = "the server closed the connection without an answer"
HALF = "the server closed the connection in the middle of the answer"
NO_HTTP = "the answer is not HTTP: "
OPEN_END = b"HTTP/1.1 503 Busy\r\n\r\nlater"


@pytest.mark.parametrize(
    ("received", "error", "status", "reason"),
    [
        (b"", ConnectionDone(), 0, CLOSED),
        (b"", ConnectionLost(), 0, BROKE),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionDone(), 0, HALF),
        (plain()[:-1], ConnectionDone(), 0, HALF),
        (CHUNKED[:-5], ConnectionDone(), 0, HALF),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionDone(), 0, HALF),
        (OPEN_END, ConnectionLost(), 0, BROKE),
        (OPEN_END, ConnectionDone(), 503, "later"),  # it ends with the connection
        (b"", TLSError([("SSL", "", "bad certificate")]), 0, "TLS failed: "),
        (b"SSH-2.0-OpenSSH\r\n", None, 0, NO_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n", None, 0, NO_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", None, 0, NO_HTTP),
        (b"HTTP/1.1 101 No\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", None, 0, NO_HTTP),
        (b"\0" * 100, None, 0, NO_HTTP),
    ],
)
def test_a_connection_that_ends_too_soon_brought_no_answer(
    harness: PoolHarness, received: bytes, error: Exception | None, status: int, reason: str
) -> None:
    """The reason is reported; what is not HTTP ends the connection at once."""
    harness.send(b"a")
    transport = harness.endpoint.accept()
    transport.send(*[received] * bool(received))
    if error is None:
        assert transport.ending == "aborted"
        harness.clock.advance(0)
    else:
        assert harness.finished == []
        transport.hang_up(error)
    ((name, found, detail),) = harness.ends()
    assert (name, found, detail[: len(reason)]) == (b"a", status, reason)
    assert (harness.pool.in_flight, harness.pool.retried) == (0, 0)


# --- which connection is used


def test_the_connection_used_last_is_used_next(harness: PoolHarness) -> None:
    """So the others grow old, and none is opened while one is free."""
    harness.send(b"a", b"b")
    first, second = harness.endpoint.accept(), harness.endpoint.accept()
    second.send(plain())
    first.send(plain())
    harness.send(b"c")
    assert first.requests == [b"a", b"c"]
    harness.send(b"d")
    assert second.requests == [b"b", b"d"]
    assert (harness.pool.opened, harness.pool.in_flight, harness.pool.waited) == (2, 2, 0)
    assert harness.ends() == [(b"b", 200, ""), (b"a", 200, "")]


def test_requests_above_the_limit_wait(harness: PoolHarness) -> None:
    """They are sent in their order, on the connections that become free."""
    harness.send(b"a", b"b", b"c", b"d")
    first, second = harness.endpoint.accept(), harness.endpoint.accept()
    assert harness.endpoint.waiting == []
    assert (harness.pool.waited, harness.pool.in_flight) == (2, 4)
    second.send(plain())
    first.send(plain())
    assert (first.requests, second.requests) == ([b"a", b"d"], [b"b", b"c"])
    assert harness.pool.opened == 2


def test_a_connection_that_has_to_end_is_replaced_for_the_next_in_line() -> None:
    """When its end is reported, so that the limit holds."""
    harness = PoolHarness(limit=1)
    harness.send(b"a", b"b")
    harness.endpoint.accept().send(plain(head=LAST))
    assert harness.ends() == [(b"a", 200, "")]
    assert harness.endpoint.waiting == []
    harness.clock.advance(0)
    assert harness.endpoint.accept().requests == [b"b"]


def test_a_request_on_a_stale_connection_is_tried_again_once(harness: PoolHarness) -> None:
    """On a fresh one, whatever else is kept; its loss is an error."""
    harness.send(b"a", b"b")
    first, second = harness.endpoint.accept(), harness.endpoint.accept()
    first.send(plain())
    second.send(plain())
    harness.ends()
    harness.send(b"c")
    second.hang_up()
    fresh = harness.endpoint.accept()
    assert [transport.requests[1:] for transport in (first, second)] == [[], [b"c"]]
    assert fresh.requests == [b"c"]
    assert (harness.pool.retried, harness.pool.waited, harness.ends()) == (1, 0, [])
    fresh.hang_up()
    assert harness.ends() == [(b"c", 0, CLOSED)]
    assert (harness.pool.retried, harness.pool.in_flight) == (1, 0)


def test_a_connection_that_has_begun_to_answer_is_not_stale(harness: PoolHarness) -> None:
    """The request may have been run."""
    kept = harness.kept()
    harness.send(b"b")
    kept.send(b"H")
    kept.hang_up()
    assert (harness.ends(), harness.pool.retried) == ([(b"b", 0, HALF)], 0)


def test_a_second_try_that_gets_no_connection_says_so(harness: PoolHarness) -> None:
    """Its error is not that of the stale connection."""
    kept = harness.kept()
    harness.send(b"b")
    kept.hang_up()
    harness.clock.advance(10)
    harness.pool.expire()
    assert harness.ends() == [(b"b", 0, "no connection within 10 s")]


@pytest.mark.parametrize("last", [[], [plain(b"", "408 Request Timeout")]])
def test_a_kept_connection_that_ends_while_it_is_free_is_forgotten(
    harness: PoolHarness, last: Sequence[bytes]
) -> None:
    """Whether or not the server sends a message first: it is not used again."""
    kept = harness.kept()
    kept.send(*last)
    assert kept.ending == ("aborted" if last else "")
    if not last:
        kept.hang_up()
    harness.send(b"b")
    harness.clock.advance(0)
    assert harness.endpoint.accept().requests == [b"b"]
    assert (len(kept.requests), harness.pool.retried) == (1, 0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Refused(), "the connection was refused"),
        (ConnectTimeout(), "the connection timed out"),
        (CancelledError(), "the connection timed out"),
        (ConnectBindError(24, "Too many open files"), "no connection: "),
    ],
)
def test_a_failed_connection_is_an_error_in_words(
    harness: PoolHarness, error: Exception, message: str
) -> None:
    """And the next waiting request gets a connection."""
    harness.send(b"a", b"b", b"c")
    harness.endpoint.refuse(error)
    ((name, status, reason),) = harness.ends()
    assert (name, status, reason[: len(message)]) == (b"a", 0, message)
    assert [harness.endpoint.accept().requests for _ in range(2)] == [[b"b"], [b"c"]]


# --- time


def test_what_no_answer_comes_to_in_time_is_given_up(harness: PoolHarness) -> None:
    """In flight, connecting or waiting; the timeout counts from when it was due."""
    names = (b"under way", b"connecting", b"in line")
    for name in names:
        harness.send(name)
        harness.clock.advance(1)
    transport = harness.endpoint.accept()
    harness.clock.advance(6.5)
    harness.pool.expire()
    assert harness.ends() == []
    for name in names:
        harness.clock.advance(1)
        harness.pool.expire()
        reason = "no answer" if name == b"under way" else "no connection"
        assert harness.ends() == [(name, 0, f"{reason} within 10 s")]
    assert transport.ending == "aborted"
    assert harness.pool.in_flight == 0


def test_all_that_expire_together_do_and_no_connection_outlives_them(harness: PoolHarness) -> None:
    """Waiting requests too, which must not take the connections that become free."""
    harness.send(b"a", b"b", b"c", b"d")
    transports = [harness.endpoint.accept(), harness.endpoint.accept()]
    harness.clock.advance(10)
    harness.pool.expire()
    harness.clock.advance(0)
    assert [name for name, _, _ in harness.ends()] == [b"a", b"b", b"c", b"d"]
    assert [transport.ending for transport in transports] == ["aborted", "aborted"]
    assert harness.endpoint.waiting == []
    harness.send(b"e")
    assert harness.endpoint.accept().requests == [b"e"]


def test_a_connection_made_too_late_serves_the_next(harness: PoolHarness) -> None:
    """The next that waits or is sent; the connection is not wasted."""
    harness.send(b"late")
    harness.clock.advance(10)
    harness.pool.expire()
    transport = harness.endpoint.accept()
    assert transport.requests == []
    harness.send(b"next")
    assert (transport.requests, harness.pool.opened) == ([b"next"], 1)


def test_what_follows_an_end_may_send_at_once_and_the_limit_holds() -> None:
    """A request that is sent from within `finish` is one more, whatever ended."""
    harness = PoolHarness(limit=1)
    harness.pool.send(Exchange(b"first", 0.0, 0.0, lambda _: harness.send(b"again")))
    harness.send(b"second")
    harness.endpoint.refuse(Refused())
    assert len(harness.endpoint.waiting) == 1
    harness.endpoint.accept().send(plain(), plain())
    assert {name for name, _, _ in harness.ends()} == {b"again", b"second"}


def test_closing_ends_every_connection() -> None:
    """Free ones in good order, busy ones at once, and those being made once they are."""
    harness = PoolHarness(limit=3)
    harness.send(b"free", b"busy", b"connecting")
    free, busy = harness.endpoint.accept(), harness.endpoint.accept()
    free.send(plain())
    harness.pool.close()
    harness.clock.advance(0)
    late = harness.endpoint.accept()
    assert [transport.ending for transport in (free, busy, late)] == ["closed", "aborted", "closed"]
    assert [name for name, _, _ in harness.ends()] == [b"free"]
    assert late.requests == []
