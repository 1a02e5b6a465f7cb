"""Open and closed loops: scripts/load/drive.py."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import pytest
from twisted.internet.task import Clock

from scripts.load.drive import PAUSE, ClosedDrive, Drive, OpenDrive
from scripts.load.record import Record
from tests.fakes.load import Answers, ClockWaker


class World:
    """A load that begins at 100 s, on a server that answers when told."""

    def __init__(self, warmup: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.server = Answers(self.clock)
        self.record = Record(100.0, 100.0 + warmup)
        self.requests = cycle([b"a", b"b"])

    def open(self, *arrivals: float) -> OpenDrive:
        """Begin an open loop."""
        waker = ClockWaker(self.clock)
        return OpenDrive(
            self.clock,
            self.server,
            self.requests,
            self.record,
            arrivals=iter(arrivals),
            waker=waker,
        )

    def closed(self, clients: int, seconds: float) -> ClosedDrive:
        """Begin a closed loop."""
        return ClosedDrive(
            self.clock, self.server, self.requests, self.record, clients=clients, seconds=seconds
        )

    @property
    def due(self) -> list[float]:
        """When what was sent was due, from the start of the load."""
        return [each.intended - 100 for each in self.server.sent]

    @property
    def late(self) -> list[float]:
        """How much later each was sent."""
        return [each.asked - each.intended for each in self.server.sent]

    def finish(self, statuses: Sequence[int]) -> None:
        """End the oldest requests with these."""
        for status in statuses:
            self.server.finish(status)


def over(drive: Drive) -> bool:
    """Return whether all that was sent has finished, and no more will be."""
    return bool(drive.done.called)


@pytest.fixture
def world() -> World:
    """A load without a warm-up."""
    return World()


def test_an_open_loop_sends_when_requests_are_due_whatever_comes_back(world: World) -> None:
    """One after the other, in turn."""
    drive = world.open(0.0, 1.0, 1.0, 3.0)
    assert world.due == [0.0]
    for expected in ([0, 1, 1], [0, 1, 1], [0, 1, 1, 3]):
        world.clock.advance(1)
        assert world.due == expected
    assert world.late == [0, 0, 0, 0]
    assert [each.request for each in world.server.sent] == [b"a", b"b", b"a", b"b"]
    assert not drive.sending
    assert not over(drive)


def test_an_open_loop_is_done_when_all_has_finished(world: World) -> None:
    """However each one ended."""
    drive = world.open(0.0, 1.0, 2.0)
    world.clock.advance(1)
    world.finish([200, 503])
    assert not over(drive)
    world.clock.advance(1)
    assert not over(drive)
    world.finish([0])
    assert over(drive)
    assert (world.record.sent, world.record.unanswered) == (3, 1)


def test_what_falls_due_in_a_pause_is_sent_late_and_none_is_skipped(world: World) -> None:
    """The latency counts from when it was due."""
    world.open(*range(6))
    world.clock.advance(4)  # in one step, as a machine that did something else
    assert world.due == [0, 1, 2, 3, 4]
    assert world.late == [0, 3, 2, 1, 0]
    world.finish([200] * 5)
    assert list(world.record.latencies) == [4, 3, 2, 1, 0]
    assert list(world.record.lags) == [0, 3, 2, 1, 0]
    world.clock.advance(1)
    assert world.due[5:] == [5]
    assert world.late[5:] == [0]


def test_an_open_loop_without_arrivals_is_done(world: World) -> None:
    """At once."""
    assert over(world.open())


def test_an_open_loop_that_is_stopped_sends_no_more(world: World) -> None:
    """It is done with the last answer; or at once where nothing is under way."""
    drive = world.open(0.0, 1.0, 2.0)
    drive.stop()
    world.clock.advance(5)
    assert world.due == [0.0]
    assert not over(drive)
    world.finish([200])
    assert over(drive)
    drive.stop()


def test_clients_of_a_closed_loop_wait_for_their_answers(world: World) -> None:
    """Each sends its next at once; a latency counts from the answer before."""
    world.closed(2, 10.0)
    assert world.due == [0, 0]
    world.clock.advance(1)
    world.finish([200])
    assert world.due == [0, 0, 1]
    world.clock.advance(1)
    world.finish([204, 200])
    assert world.due == [0, 0, 1, 2, 2]
    assert list(world.record.latencies) == [1, 2, 1]


@pytest.mark.parametrize("status", [0, 302, 404, 429, 500, 503])
def test_a_client_pauses_after_anything_but_a_success(status: int) -> None:
    """And then sends again; the pause is no part of a latency."""
    world = World()
    world.closed(1, 10.0)
    world.clock.advance(1)
    world.finish([status])
    assert world.due == [0]
    world.clock.advance(PAUSE)
    assert world.due == pytest.approx([0, 1 + PAUSE])
    assert world.late == [0, 0]


@pytest.mark.parametrize("status", [200, 503])
def test_a_closed_loop_sends_nothing_after_its_end(status: int) -> None:
    """Not even what a pause has put off; it is done with the last answer."""
    world = World()
    drive = world.closed(2, 4.0)
    world.clock.advance(4 - PAUSE / 2)
    world.finish([status])
    sent = len(world.due)
    world.clock.advance(PAUSE)
    assert not drive.sending
    assert not over(drive)
    while world.server.open:
        world.finish([200])
    assert over(drive)
    assert len(world.due) == sent


def test_a_closed_loop_ends_during_a_pause(world: World) -> None:
    """When all its clients pause, nobody waits for them."""
    drive = world.closed(2, 1.0)
    world.clock.advance(1 - PAUSE / 2)
    world.finish([503, 503])
    assert not over(drive)
    world.clock.advance(PAUSE / 2)
    assert over(drive)
    world.clock.advance(5)
    assert world.due == [0, 0]


def test_an_answer_at_the_end_ends_a_closed_loop(world: World) -> None:
    """Also where the timer that says so is late, as timers are."""
    drive = world.closed(1, 1.0)
    world.clock.rightNow += 1.0  # the time, without its timers
    world.finish([200])
    assert over(drive)
    assert world.due == [0]
    world.clock.advance(1)


def test_a_closed_loop_that_is_stopped_sends_no_more(world: World) -> None:
    """Whoever waits gets its answer first."""
    drive = world.closed(2, 10.0)
    world.clock.advance(1)
    world.finish([503])
    drive.stop()
    assert not over(drive)
    world.finish([200])
    assert over(drive)
    world.clock.advance(20)
    assert world.due == [0, 0]


def test_the_warm_up_is_sent_but_left_out() -> None:
    """By when a request was due, not by when it was answered."""
    world = World(warmup=2.0)
    world.open(0.0, 1.0, 2.0, 3.0)
    world.clock.advance(4)
    world.finish([200] * 4)
    assert len(world.server.sent) == 4
    assert list(world.record.intended) == [2.0, 3.0]


def test_what_is_wrong_here_ends_the_load_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a load that waits for ever for an answer that it has had."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    world = World()
    drive = world.closed(2, 10.0)
    monkeypatch.setattr(Record, "add", broken)
    world.finish([200])
    failures: list[object] = []
    drive.done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]
    assert not drive.sending


def test_arrivals_that_fail_end_the_load_with_their_reason() -> None:
    """Which is told, whenever it comes."""

    def arrivals() -> Iterator[float]:
        yield 1.0
        raise ZeroDivisionError

    world = World()
    drive = OpenDrive(
        world.clock, world.server, world.requests, world.record,
        arrivals=arrivals(), waker=ClockWaker(world.clock),
    )  # fmt: skip
    world.clock.advance(1.0)
    failures: list[object] = []
    drive.done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]
