"""One timer that fires no later than the time it was set to: batcher/timer.py."""

from collections.abc import Sequence
from math import inf

import pytest
from twisted.internet.task import Clock

from batcher.timer import DeadlineTimer


class TimedCalls:
    """A timer on a clock, and the times at which it fired."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(8.0)
        self.fired: list[float] = []
        self.timer = DeadlineTimer(self.clock, lambda: self.fired.append(self.clock.seconds()))

    def pass_by(self, seconds: int) -> None:
        """Advance the clock by *seconds*, one by one."""
        self.clock.pump([1.0] * seconds)


@pytest.mark.parametrize(
    ("dues", "fired", "at"),
    [
        ([inf], [], inf),
        ([12.0], [12.0], 12.0),
        ([12.0, 10.0], [10.0], 10.0),
        ([10.0, 12.0], [10.0], 10.0),  # too early: then it is to be set again
        ([12.0, 12.0], [12.0], 12.0),
        ([12.0, inf], [], inf),
        ([12.0, inf, 14.0], [14.0], 14.0),
        ([12.0, 10.0, inf, 11.0], [11.0], 11.0),
        ([-inf], [8.0], -inf),
        ([3.0], [8.0], 3.0),
        ([12.0, 3.0], [8.0], 3.0),
    ],
)
def test_it_fires_once_at_the_earliest_time_that_was_set(
    dues: Sequence[float], fired: list[float], at: float
) -> None:
    """Set at 8.0; a past time fires in the next turn of the reactor, and inf cancels."""
    calls = TimedCalls()
    for due in dues:
        calls.timer.set(due)
    assert calls.timer.at == at
    assert calls.fired == []
    calls.clock.advance(0)
    calls.pass_by(10)
    assert calls.fired == fired
    assert calls.timer.at == inf
    assert calls.clock.getDelayedCalls() == []


def test_there_is_never_more_than_one_delayed_call() -> None:
    """However often the timer is set."""
    calls = TimedCalls()
    for due in (20.0, 19.0, 30.0, 12.0, 12.0, 15.0):
        calls.timer.set(due)
        assert len(calls.clock.getDelayedCalls()) == 1
    calls.timer.set(inf)
    assert calls.clock.getDelayedCalls() == []


def test_it_may_be_set_while_it_fires() -> None:
    """As a turn of the batcher does when the timer fires too early."""
    clock = Clock()
    fired: list[float] = []

    def fire() -> None:
        fired.append(clock.seconds())
        timer.set(clock.seconds() + 2.0 if len(fired) < 3 else inf)

    timer = DeadlineTimer(clock, fire)
    timer.set(1.0)
    clock.pump([1.0] * 9)
    assert fired == [1.0, 3.0, 5.0]
    assert clock.getDelayedCalls() == []
