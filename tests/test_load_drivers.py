"""Open and closed loops: scripts/load/drivers.py."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import pytest
from twisted.internet.task import Clock

from scripts.load.drivers import PAUSE_SECONDS, ClosedLoopDriver, LoadDriver, OpenLoopDriver
from scripts.load.record import Record
from tests.fakes.clock import ClockTimer
from tests.fakes.load import FakeSender


class DriverHarness:
    """A load that begins at 100 s, and a sender whose exchanges the test finishes."""

    def __init__(self, warmup: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.server = FakeSender(self.clock)
        self.record = Record(100.0, 100.0 + warmup)
        self.requests = cycle([b"a", b"b"])

    def open(self, *arrivals: float) -> OpenLoopDriver:
        """Begin an open loop."""
        timer = ClockTimer(self.clock)
        return OpenLoopDriver(
            self.clock,
            self.server,
            self.requests,
            self.record,
            arrivals=iter(arrivals),
            timer=timer,
        )

    def closed(self, clients: int, seconds: float) -> ClosedLoopDriver:
        """Begin a closed loop."""
        return ClosedLoopDriver(
            self.clock, self.server, self.requests, self.record, clients=clients, seconds=seconds
        )

    @property
    def due(self) -> list[float]:
        """When what was sent was due, from the start of the load."""
        return [each.intended - 100 for each in self.server.sent]

    @property
    def late(self) -> list[float]:
        """How much later each was sent."""
        return [each.submitted - each.intended for each in self.server.sent]

    def finish(self, statuses: Sequence[int]) -> None:
        """End the oldest requests with these."""
        for status in statuses:
            self.server.finish(status)


def over(driver: LoadDriver) -> bool:
    """Return whether all that was sent has finished, and no more will be."""
    return bool(driver.done.called)


@pytest.fixture
def harness() -> DriverHarness:
    """A load without a warm-up."""
    return DriverHarness()


def test_an_open_loop_sends_when_requests_are_due_whatever_the_answers(
    harness: DriverHarness,
) -> None:
    """The bodies are sent in turn."""
    driver = harness.open(0.0, 1.0, 1.0, 3.0)
    assert harness.due == [0.0]
    for expected in ([0, 1, 1], [0, 1, 1], [0, 1, 1, 3]):
        harness.clock.advance(1)
        assert harness.due == expected
    assert harness.late == [0, 0, 0, 0]
    assert [each.request for each in harness.server.sent] == [b"a", b"b", b"a", b"b"]
    assert not driver.sending
    assert not over(driver)


def test_an_open_loop_is_done_when_all_has_finished(harness: DriverHarness) -> None:
    """However each one ended."""
    driver = harness.open(0.0, 1.0, 2.0)
    harness.clock.advance(1)
    harness.finish([200, 503])
    assert not over(driver)
    harness.clock.advance(1)
    assert not over(driver)
    harness.finish([0])
    assert over(driver)
    assert (harness.record.sent, harness.record.unanswered) == (3, 1)


def test_what_falls_due_in_a_pause_is_sent_late_and_none_is_skipped(harness: DriverHarness) -> None:
    """The latency counts from when it was due."""
    harness.open(*range(6))
    harness.clock.advance(4)  # in one step, as a machine that did something else
    assert harness.due == [0, 1, 2, 3, 4]
    assert harness.late == [0, 3, 2, 1, 0]
    harness.finish([200] * 5)
    assert list(harness.record.latencies) == [4, 3, 2, 1, 0]
    assert list(harness.record.lags) == [0, 3, 2, 1, 0]
    harness.clock.advance(1)
    assert harness.due[5:] == [5]
    assert harness.late[5:] == [0]


def test_an_open_loop_without_arrivals_is_done(harness: DriverHarness) -> None:
    """At once."""
    assert over(harness.open())


def test_an_open_loop_that_is_stopped_sends_no_more(harness: DriverHarness) -> None:
    """It is done with the last answer; or at once where nothing is under way."""
    driver = harness.open(0.0, 1.0, 2.0)
    driver.stop()
    harness.clock.advance(5)
    assert harness.due == [0.0]
    assert not over(driver)
    harness.finish([200])
    assert over(driver)
    driver.stop()


def test_clients_of_a_closed_loop_wait_for_their_answers(harness: DriverHarness) -> None:
    """Each sends its next at once; a latency counts from the answer before."""
    harness.closed(2, 10.0)
    assert harness.due == [0, 0]
    harness.clock.advance(1)
    harness.finish([200])
    assert harness.due == [0, 0, 1]
    harness.clock.advance(1)
    harness.finish([204, 200])
    assert harness.due == [0, 0, 1, 2, 2]
    assert list(harness.record.latencies) == [1, 2, 1]


@pytest.mark.parametrize("status", [0, 302, 404, 429, 500, 503])
def test_a_client_pauses_after_anything_but_a_success(status: int) -> None:
    """And then sends again; the pause is no part of a latency."""
    harness = DriverHarness()
    harness.closed(1, 10.0)
    harness.clock.advance(1)
    harness.finish([status])
    assert harness.due == [0]
    harness.clock.advance(PAUSE_SECONDS)
    assert harness.due == pytest.approx([0, 1 + PAUSE_SECONDS])
    assert harness.late == [0, 0]


@pytest.mark.parametrize("status", [200, 503])
def test_a_closed_loop_sends_nothing_after_its_end(status: int) -> None:
    """Not even what a pause has put off; it is done with the last answer."""
    harness = DriverHarness()
    driver = harness.closed(2, 4.0)
    harness.clock.advance(4 - PAUSE_SECONDS / 2)
    harness.finish([status])
    sent = len(harness.due)
    harness.clock.advance(PAUSE_SECONDS)
    assert not driver.sending
    assert not over(driver)
    while harness.server.open:
        harness.finish([200])
    assert over(driver)
    assert len(harness.due) == sent


def test_a_closed_loop_ends_during_a_pause(harness: DriverHarness) -> None:
    """It does not wait for the end of its clients' pauses."""
    driver = harness.closed(2, 1.0)
    harness.clock.advance(1 - PAUSE_SECONDS / 2)
    harness.finish([503, 503])
    assert not over(driver)
    harness.clock.advance(PAUSE_SECONDS / 2)
    assert over(driver)
    harness.clock.advance(5)
    assert harness.due == [0, 0]


def test_an_answer_at_the_end_ends_a_closed_loop(harness: DriverHarness) -> None:
    """Also if the timer of the end is late."""
    driver = harness.closed(1, 1.0)
    harness.clock.rightNow += 1.0  # the time, without its timers
    harness.finish([200])
    assert over(driver)
    assert harness.due == [0]
    harness.clock.advance(1)


def test_a_closed_loop_that_is_stopped_sends_no_more(harness: DriverHarness) -> None:
    """It is done when the requests in flight are answered."""
    driver = harness.closed(2, 10.0)
    harness.clock.advance(1)
    harness.finish([503])
    driver.stop()
    assert not over(driver)
    harness.finish([200])
    assert over(driver)
    harness.clock.advance(20)
    assert harness.due == [0, 0]


def test_the_warm_up_is_sent_but_left_out() -> None:
    """By when a request was due, not by when it was answered."""
    harness = DriverHarness(warmup=2.0)
    harness.open(0.0, 1.0, 2.0, 3.0)
    harness.clock.advance(4)
    harness.finish([200] * 4)
    assert len(harness.server.sent) == 4
    assert list(harness.record.intended) == [2.0, 3.0]


def test_an_error_of_the_load_test_ends_the_load_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the load would never end."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    harness = DriverHarness()
    driver = harness.closed(2, 10.0)
    monkeypatch.setattr(Record, "add", broken)
    harness.finish([200])
    failures: list[object] = []
    driver.done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]
    assert not driver.sending


def test_arrivals_that_fail_end_the_load_with_their_reason() -> None:
    """`done` fails with the error of the iterator, whenever it is raised."""

    def arrivals() -> Iterator[float]:
        yield 1.0
        raise ZeroDivisionError

    harness = DriverHarness()
    driver = OpenLoopDriver(
        harness.clock, harness.server, harness.requests, harness.record,
        arrivals=arrivals(), timer=ClockTimer(harness.clock),
    )  # fmt: skip
    harness.clock.advance(1.0)
    failures: list[object] = []
    driver.done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]
