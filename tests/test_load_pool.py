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
from scripts.load.pool import Pool
from tests.fakes.load import Door, plain


class World:
    """A pool, and the server's door."""

    def __init__(self, limit: int = 2, timeout: float = 10.0) -> None:
        self.clock = Clock()
        self.door = Door(self.clock)
        self.finished: list[Exchange] = []
        self.pool = Pool(self.door, limit=limit, timeout=timeout, seconds=self.clock.seconds)

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
def world() -> World:
    """A pool of two connections at most."""
    return World()


LAST = plain(head="Connection: close\r\n")


def test_the_connection_used_last_is_used_next(world: World) -> None:
    """So the others grow old, and none is opened while one is free."""
    world.send(b"a")
    world.send(b"b")
    first, second = world.door.let_in(), world.door.let_in()
    second.say(plain())
    first.say(plain())
    world.send(b"c")
    assert first.requests == [b"a", b"c"]
    world.send(b"d")
    assert second.requests == [b"b", b"d"]
    assert (world.pool.opened, world.pool.in_flight, world.pool.waited) == (2, 2, 0)
    assert world.ends() == [(b"b", 200, ""), (b"a", 200, "")]


def test_more_than_the_limit_wait_in_line(world: World) -> None:
    """They go out in the order they came, on what becomes free."""
    for name in (b"a", b"b", b"c", b"d"):
        world.send(name)
    first, second = world.door.let_in(), world.door.let_in()
    assert world.door.waiting == []
    assert (world.pool.waited, world.pool.in_flight) == (2, 4)
    second.say(plain())
    first.say(plain())
    assert (first.requests, second.requests) == ([b"a", b"d"], [b"b", b"c"])
    assert world.pool.opened == 2


def test_a_connection_that_has_to_end_is_replaced_for_the_next_in_line() -> None:
    """Once it is gone, so that the limit holds."""
    world = World(limit=1)
    world.send(b"a")
    world.send(b"b")
    world.door.let_in().say(LAST)
    assert world.ends() == [(b"a", 200, "")]
    assert world.door.waiting == []
    world.clock.advance(0)
    assert world.door.let_in().requests == [b"b"]


def test_a_request_on_a_stale_connection_is_tried_again_once(world: World) -> None:
    """On a fresh one, whatever else is kept; its loss is an error."""
    world.send(b"a")
    world.send(b"b")
    first, second = world.door.let_in(), world.door.let_in()
    first.say(plain())
    second.say(plain())
    world.ends()
    world.clock.advance(1)
    world.send(b"c")
    second.hang_up()
    fresh = world.door.let_in()
    assert [wire.requests[1:] for wire in (first, second)] == [[], [b"c"]]
    assert fresh.requests == [b"c"]
    assert (world.pool.retried, world.pool.waited, world.ends()) == (1, 0, [])
    fresh.hang_up()
    assert world.ends() == [(b"c", 0, "the server closed the connection without an answer")]
    assert world.pool.retried == 1
    assert world.pool.in_flight == 0


def test_a_second_try_that_gets_no_connection_says_so(world: World) -> None:
    """It has no more to do with the stale one."""
    world.send(b"a")
    kept = world.door.let_in()
    kept.say(plain())
    world.ends()
    world.send(b"b")
    kept.hang_up()
    world.clock.advance(10)
    world.pool.expire()
    assert world.ends() == [(b"b", 0, "no connection within 10 s")]


def test_a_kept_connection_that_ends_while_it_is_free_is_forgotten(world: World) -> None:
    """Whether the server closes it, or says something first: neither is lent again."""
    world.send(b"a")
    wire = world.door.let_in()
    wire.say(plain())
    wire.say(plain(b"", "408 Request Timeout"))
    world.send(b"b")
    world.clock.advance(0)
    other = world.door.let_in()
    other.say(plain())
    other.hang_up()
    world.send(b"c")
    assert world.door.let_in().requests == [b"c"]
    assert (wire.requests, other.requests) == ([b"a"], [b"b"])
    assert world.pool.retried == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused(), "the connection was refused"),
        (ConnectTimeout(), "the connection timed out"),
        (CancelledError(), "the connection timed out"),
        (ConnectBindError(24, "Too many open files"), "no connection: "),
    ],
)
def test_nobody_there_is_told_in_words(world: World, error: Exception, said: str) -> None:
    """And the next in line has its try."""
    for name in (b"a", b"b", b"c"):
        world.send(name)
    world.door.turn_away(error)
    ((name, status, reason),) = world.ends()
    assert (name, status) == (b"a", 0)
    assert reason.startswith(said)
    assert [world.door.let_in().requests for _ in range(2)] == [[b"b"], [b"c"]]


def test_what_no_answer_comes_to_in_time_is_given_up(world: World) -> None:
    """Under way, while connecting and in line; its time counts from when it was due."""
    for name in (b"under way", b"connecting", b"in line"):
        world.send(name)
        world.clock.advance(1)
    wire = world.door.let_in()
    world.clock.advance(6.5)
    world.pool.expire()
    assert world.ends() == []
    for name in (b"under way", b"connecting", b"in line"):
        world.clock.advance(1)
        world.pool.expire()
        reason = "no answer" if name == b"under way" else "no connection"
        assert world.ends() == [(name, 0, f"{reason} within 10 s")]
    assert wire.ending == "aborted"
    assert world.pool.in_flight == 0


def test_all_that_expire_together_do_and_no_connection_outlives_them(world: World) -> None:
    """Those in line, too, which must not take the connections that become free."""
    for name in (b"a", b"b", b"c", b"d"):
        world.send(name)
    wires = [world.door.let_in(), world.door.let_in()]
    world.clock.advance(10)
    world.pool.expire()
    world.clock.advance(0)
    assert [name for name, _, _ in world.ends()] == [b"a", b"b", b"c", b"d"]
    assert [wire.ending for wire in wires] == ["aborted", "aborted"]
    assert world.door.waiting == []
    world.send(b"e")
    assert world.door.let_in().requests == [b"e"]


def test_a_connection_made_too_late_serves_the_next(world: World) -> None:
    """In line, or whenever it comes; it is not wasted."""
    world.send(b"late")
    world.clock.advance(10)
    world.pool.expire()
    wire = world.door.let_in()
    assert wire.requests == []
    world.send(b"next")
    assert wire.requests == [b"next"]
    assert world.pool.opened == 1


def test_what_follows_an_end_may_send_at_once_and_the_limit_holds() -> None:
    """A request that is sent from within `finish` is one more, whatever ended."""
    world = World(limit=1)

    def again(_: Exchange) -> None:
        world.send(b"again")

    world.pool.send(Exchange(b"first", 0.0, 0.0, again))
    world.send(b"second")
    world.door.turn_away(Refused())
    assert len(world.door.waiting) == 1
    world.door.let_in().say(plain(), plain())
    assert {name for name, _, _ in world.ends()} == {b"again", b"second"}


def test_closing_ends_every_connection(world: World) -> None:
    """Free ones in good order, busy ones at once, and those being made once they are."""
    world = World(limit=3)
    for name in (b"free", b"busy", b"connecting"):
        world.send(name)
    free, busy = world.door.let_in(), world.door.let_in()
    free.say(plain())
    world.pool.close()
    world.clock.advance(0)
    late = world.door.let_in()
    assert [wire.ending for wire in (free, busy, late)] == ["closed", "aborted", "closed"]
    assert [name for name, _, _ in world.ends()] == [b"free"]
    assert late.requests == []
