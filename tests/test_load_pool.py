"""The connections to the server under test: scripts/load/pool.py."""

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectBindError,
)
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.task import Clock

from scripts.load.exchange import Exchange
from scripts.load.pool import ConnectionPool
from tests.fakes.load import FakeEndpoint, plain


class PoolHarness:
    """A pool, and the endpoint of its server."""

    def __init__(self, limit: int = 2, timeout: float = 10.0) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(self.clock)
        self.finished: list[Exchange] = []
        self.pool = ConnectionPool(
            self.endpoint, limit=limit, timeout=timeout, seconds=self.clock.seconds
        )

    def send(self, name: bytes = b"request") -> Exchange:
        """Have a request sent that is due now."""
        now = self.clock.seconds()
        exchange = Exchange(name, now, now, self.finished.append)
        self.pool.send(exchange)
        return exchange

    def ends(self) -> list[tuple[bytes, int, str]]:
        """Return name, status and reason of each that has finished since it was last asked."""
        found = [(each.request, each.status, each.detail) for each in self.finished]
        self.finished.clear()
        return found


@pytest.fixture
def harness() -> PoolHarness:
    """A pool of two connections at most."""
    return PoolHarness()


LAST = plain(head="Connection: close\r\n")


def test_the_connection_used_last_is_used_next(harness: PoolHarness) -> None:
    """So the others grow old, and none is opened while one is free."""
    harness.send(b"a")
    harness.send(b"b")
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
    for name in (b"a", b"b", b"c", b"d"):
        harness.send(name)
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
    harness.send(b"a")
    harness.send(b"b")
    harness.endpoint.accept().send(LAST)
    assert harness.ends() == [(b"a", 200, "")]
    assert harness.endpoint.waiting == []
    harness.clock.advance(0)
    assert harness.endpoint.accept().requests == [b"b"]


def test_a_request_on_a_stale_connection_is_tried_again_once(harness: PoolHarness) -> None:
    """On a fresh one, whatever else is kept; its loss is an error."""
    harness.send(b"a")
    harness.send(b"b")
    first, second = harness.endpoint.accept(), harness.endpoint.accept()
    first.send(plain())
    second.send(plain())
    harness.ends()
    harness.clock.advance(1)
    harness.send(b"c")
    second.hang_up()
    fresh = harness.endpoint.accept()
    assert [transport.requests[1:] for transport in (first, second)] == [[], [b"c"]]
    assert fresh.requests == [b"c"]
    assert (harness.pool.retried, harness.pool.waited, harness.ends()) == (1, 0, [])
    fresh.hang_up()
    assert harness.ends() == [(b"c", 0, "the server closed the connection without an answer")]
    assert harness.pool.retried == 1
    assert harness.pool.in_flight == 0


def test_a_second_try_that_gets_no_connection_says_so(harness: PoolHarness) -> None:
    """Its error is not that of the stale connection."""
    harness.send(b"a")
    kept = harness.endpoint.accept()
    kept.send(plain())
    harness.ends()
    harness.send(b"b")
    kept.hang_up()
    harness.clock.advance(10)
    harness.pool.expire()
    assert harness.ends() == [(b"b", 0, "no connection within 10 s")]


def test_a_kept_connection_that_ends_while_it_is_free_is_forgotten(harness: PoolHarness) -> None:
    """Whether or not the server sends a message first: it is not used again."""
    harness.send(b"a")
    transport = harness.endpoint.accept()
    transport.send(plain())
    transport.send(plain(b"", "408 Request Timeout"))
    harness.send(b"b")
    harness.clock.advance(0)
    other = harness.endpoint.accept()
    other.send(plain())
    other.hang_up()
    harness.send(b"c")
    assert harness.endpoint.accept().requests == [b"c"]
    assert (transport.requests, other.requests) == ([b"a"], [b"b"])
    assert harness.pool.retried == 0


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
    for name in (b"a", b"b", b"c"):
        harness.send(name)
    harness.endpoint.refuse(error)
    ((name, status, reason),) = harness.ends()
    assert (name, status) == (b"a", 0)
    assert reason.startswith(message)
    assert [harness.endpoint.accept().requests for _ in range(2)] == [[b"b"], [b"c"]]


def test_what_no_answer_comes_to_in_time_is_given_up(harness: PoolHarness) -> None:
    """In flight, connecting or waiting; the timeout counts from when it was due."""
    for name in (b"under way", b"connecting", b"in line"):
        harness.send(name)
        harness.clock.advance(1)
    transport = harness.endpoint.accept()
    harness.clock.advance(6.5)
    harness.pool.expire()
    assert harness.ends() == []
    for name in (b"under way", b"connecting", b"in line"):
        harness.clock.advance(1)
        harness.pool.expire()
        reason = "no answer" if name == b"under way" else "no connection"
        assert harness.ends() == [(name, 0, f"{reason} within 10 s")]
    assert transport.ending == "aborted"
    assert harness.pool.in_flight == 0


def test_all_that_expire_together_do_and_no_connection_outlives_them(harness: PoolHarness) -> None:
    """Waiting requests too, which must not take the connections that become free."""
    for name in (b"a", b"b", b"c", b"d"):
        harness.send(name)
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
    assert transport.requests == [b"next"]
    assert harness.pool.opened == 1


def test_what_follows_an_end_may_send_at_once_and_the_limit_holds() -> None:
    """A request that is sent from within `finish` is one more, whatever ended."""
    harness = PoolHarness(limit=1)

    def again(_: Exchange) -> None:
        harness.send(b"again")

    harness.pool.send(Exchange(b"first", 0.0, 0.0, again))
    harness.send(b"second")
    harness.endpoint.refuse(Refused())
    assert len(harness.endpoint.waiting) == 1
    harness.endpoint.accept().send(plain(), plain())
    assert {name for name, _, _ in harness.ends()} == {b"again", b"second"}


def test_closing_ends_every_connection(harness: PoolHarness) -> None:
    """Free ones in good order, busy ones at once, and those being made once they are."""
    harness = PoolHarness(limit=3)
    for name in (b"free", b"busy", b"connecting"):
        harness.send(name)
    free, busy = harness.endpoint.accept(), harness.endpoint.accept()
    free.send(plain())
    harness.pool.close()
    harness.clock.advance(0)
    late = harness.endpoint.accept()
    assert [transport.ending for transport in (free, busy, late)] == ["closed", "aborted", "closed"]
    assert [name for name, _, _ in harness.ends()] == [b"free"]
    assert late.requests == []
