"""Open and closed loops: scripts/load/drivers.py."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

import pytest
from twisted.internet.task import Clock

from scripts.load.drivers import PAUSE_SECONDS, ClosedLoopDriver, LoadDriver, OpenLoopDriver
from scripts.load.record import Record
from tests.fakes.clock import ClockTimer
from tests.fakes.load import FakeSender

PAUSE = PAUSE_SECONDS
STOP = "stop"

#: Seconds that pass, the status with which the oldest request ends, or a stop.
Step = float | int | str


class DriverHarness:
    """A load that begins at 100 s, and a sender whose exchanges the test finishes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.server = FakeSender(self.clock)
        self.record = Record(100.0, 100.0)
        self.requests = cycle([b"a", b"b"])

    def open(self, arrivals: Iterable[float]) -> OpenLoopDriver:
        """Begin an open loop."""
        return OpenLoopDriver(
            self.clock,
            self.server,
            self.requests,
            self.record,
            arrivals=iter(arrivals),
            timer=ClockTimer(self.clock),
        )

    def closed(self, clients: int, seconds: float) -> ClosedLoopDriver:
        """Begin a closed loop."""
        return ClosedLoopDriver(
            self.clock, self.server, self.requests, self.record, clients=clients, seconds=seconds
        )

    def make(self, driver: LoadDriver, steps: Iterable[Step]) -> None:
        """Make *steps*."""
        for step in steps:
            if isinstance(step, int):
                self.server.finish(step)
            elif isinstance(step, float):
                self.clock.advance(step)
            else:
                driver.stop()


#: Arrivals, steps, when what was sent was due, how late it was sent, and whether the load is over.
OPEN: list[tuple[list[float], Sequence[Step], list[float], list[float], bool]] = [
    ([], (), [], [], True),
    ([0.0, 1.0, 1.0, 3.0], (), [0], [0], False),
    ([0.0, 1.0, 1.0, 3.0], (1.0,), [0, 1, 1], [0, 0, 0], False),
    ([0.0, 1.0, 1.0, 3.0], (1.0, 1.0), [0, 1, 1], [0, 0, 0], False),
    ([0.0, 1.0, 1.0, 3.0], (1.0, 1.0, 1.0), [0, 1, 1, 3], [0, 0, 0, 0], False),
    ([0.0, 1.0, 2.0], (1.0, 200, 503), [0, 1], [0, 0], False),
    ([0.0, 1.0, 2.0], (1.0, 200, 503, 1.0), [0, 1, 2], [0, 0, 0], False),
    ([0.0, 1.0, 2.0], (1.0, 200, 503, 1.0, 0), [0, 1, 2], [0, 0, 0], True),
    # in one step, as a machine that did something else
    ([*range(6)], (4.0, 200, 200, 200, 200, 200), [0, 1, 2, 3, 4], [0, 3, 2, 1, 0], False),
    ([*range(6)], (4.0, 1.0), [0, 1, 2, 3, 4, 5], [0, 3, 2, 1, 0, 0], False),
    ([0.0, 1.0, 2.0], (STOP, 5.0), [0], [0], False),
    ([0.0, 1.0, 2.0], (STOP, 5.0, 200, STOP), [0], [0], True),
]  # fmt: skip

#: Clients, seconds, steps, when what was sent was due, and whether the load is over.
CLOSED: list[tuple[int, float, Sequence[Step], list[float], bool]] = [
    (2, 10.0, (), [0, 0], False),
    (2, 10.0, (1.0, 200), [0, 0, 1], False),
    (2, 10.0, (1.0, 200, 1.0, 204, 200), [0, 0, 1, 2, 2], False),
    *((1, 10.0, (1.0, status), [0.0], False) for status in (0, 302, 404, 429, 500, 503)),
    *((1, 10.0, (1.0, status, PAUSE), [0.0, 1 + PAUSE], False) for status in (0, 302, 404, 503)),
    (2, 4.0, (4 - PAUSE / 2, 200, PAUSE), [0, 0, 4 - PAUSE / 2], False),
    (2, 4.0, (4 - PAUSE / 2, 200, PAUSE, 200, 200), [0, 0, 4 - PAUSE / 2], True),
    (2, 4.0, (4 - PAUSE / 2, 503, PAUSE), [0, 0], False),
    (2, 4.0, (4 - PAUSE / 2, 503, PAUSE, 200), [0, 0], True),
    # it does not wait for the end of its clients' pauses
    (2, 1.0, (1 - PAUSE / 2, 503, 503), [0, 0], False),
    (2, 1.0, (1 - PAUSE / 2, 503, 503, PAUSE / 2), [0, 0], True),
    (2, 1.0, (1 - PAUSE / 2, 503, 503, PAUSE / 2, 5.0), [0, 0], True),
    (2, 10.0, (1.0, 503, STOP), [0, 0], False),
    (2, 10.0, (1.0, 503, STOP, 200, 20.0), [0, 0], True),
]  # fmt: skip


@pytest.mark.parametrize(("arrivals", "steps", "due", "late", "over"), OPEN)
def test_an_open_loop_sends_when_requests_are_due_whatever_the_answers(
    arrivals: list[float], steps: Sequence[Step], due: list[float], late: list[float], over: bool
) -> None:
    """The bodies are sent in turn, none is skipped, and it is done when all has finished."""
    harness = DriverHarness()
    driver = harness.open(arrivals)
    harness.make(driver, steps)
    sent = harness.server.sent
    assert [each.intended - 100 for each in sent] == due
    assert [each.submitted - each.intended for each in sent] == late
    assert [each.request for each in sent] == [b"a", b"b", b"a", b"b", b"a", b"b"][: len(due)]
    assert driver.done.called == over
    assert driver.sending == (due != arrivals and STOP not in steps)


@pytest.mark.parametrize(("clients", "seconds", "steps", "due", "over"), CLOSED)
def test_clients_of_a_closed_loop_wait_for_their_answers(
    clients: int, seconds: float, steps: Sequence[Step], due: list[float], over: bool
) -> None:
    """Each sends its next at once, or after a pause if it had no success; none after the end."""
    harness = DriverHarness()
    driver = harness.closed(clients, seconds)
    harness.make(driver, steps)
    sent = harness.server.sent
    assert [each.intended - 100 for each in sent] == pytest.approx(due)
    assert all(each.submitted == each.intended for each in sent)
    assert driver.done.called == over
    assert not (over and driver.sending)


def test_latencies_count_from_when_a_request_was_due() -> None:
    """In a closed loop from the answer before; the record also has how late each was sent."""
    harness = DriverHarness()
    harness.make(harness.open(range(6)), (4.0, 200, 200, 200, 200, 200))
    assert list(harness.record.latencies) == [4, 3, 2, 1, 0]
    assert list(harness.record.lags) == [0, 3, 2, 1, 0]
    harness = DriverHarness()
    harness.make(harness.closed(2, 10.0), (1.0, 200, 1.0, 204, 200))
    assert list(harness.record.latencies) == [1, 2, 1]
    harness = DriverHarness()
    harness.make(harness.open((0.0, 1.0)), (1.0, 503, 0))
    assert (harness.record.sent, harness.record.unanswered) == (2, 1)


def test_an_answer_at_the_end_ends_a_closed_loop() -> None:
    """Also if the timer of the end is late."""
    harness = DriverHarness()
    driver = harness.closed(1, 1.0)
    harness.clock.rightNow += 1.0  # the time, without its timers
    harness.server.finish(200)
    assert driver.done.called
    assert len(harness.server.sent) == 1
    harness.clock.advance(1)


def broken() -> Iterator[float]:
    """Yield an arrival, and fail."""
    yield 1.0
    raise ZeroDivisionError


@pytest.mark.parametrize("closed", [True, False])
def test_an_error_of_the_load_test_ends_the_load_with_its_reason(
    closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the record or of the arrivals; otherwise the load would never end."""
    harness = DriverHarness()
    driver: LoadDriver = harness.closed(2, 10.0) if closed else harness.open(broken())
    if closed:
        monkeypatch.setattr(Record, "add", lambda *_: next(broken()) / 0)
        harness.server.finish(200)
    else:
        harness.clock.advance(1.0)
    failures: list[object] = []
    driver.done.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]
    assert not (closed and driver.sending)
