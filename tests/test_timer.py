"""One timer that fires no later than the time it was set to: batcher/timer.py."""

from collections.abc import Sequence
from math import inf

import pytest
from twisted.internet.task import Clock

from batcher.timer import DeadlineTimer


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
    clock = Clock()
    clock.advance(8.0)
    times: list[float] = []
    timer = DeadlineTimer(clock, lambda: times.append(clock.seconds()))
    for due in dues:
        timer.set(due)
        assert len(clock.getDelayedCalls()) == (due < inf)
    assert (timer.at, times) == (at, [])
    clock.pump([0.0, *[1.0] * 10])
    assert (timer.at, times) == (inf, fired)
    assert clock.getDelayedCalls() == []


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
