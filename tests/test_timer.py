"""One timer that rings no later than asked: batcher/timer.py."""

from collections.abc import Sequence
from math import inf

import pytest
from twisted.internet.task import Clock

from batcher.timer import Wake


class Bell:
    """A wake on a clock, and the times at which it rang."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(8.0)
        self.rang: list[float] = []
        self.wake = Wake(self.clock, lambda: self.rang.append(self.clock.seconds()))

    def pass_by(self, seconds: int) -> None:
        """Let *seconds* pass, one by one."""
        self.clock.pump([1.0] * seconds)


@pytest.mark.parametrize(
    ("dues", "rang", "at"),
    [
        ([inf], [], inf),
        ([12.0], [12.0], 12.0),
        ([12.0, 10.0], [10.0], 10.0),
        ([10.0, 12.0], [10.0], 10.0),  # too early, and then it is set again
        ([12.0, 12.0], [12.0], 12.0),
        ([12.0, inf], [], inf),
        ([12.0, inf, 14.0], [14.0], 14.0),
        ([12.0, 10.0, inf, 11.0], [11.0], 11.0),
        ([-inf], [8.0], -inf),
        ([3.0], [8.0], 3.0),
        ([12.0, 3.0], [8.0], 3.0),
    ],
)
def test_it_rings_once_at_the_earliest_time_that_was_set(
    dues: Sequence[float], rang: list[float], at: float
) -> None:
    """Set at 8.0; what is past rings in the next turn of the reactor, and inf takes all back."""
    bell = Bell()
    for due in dues:
        bell.wake.set(due)
    assert bell.wake.at == at
    assert bell.rang == []
    bell.clock.advance(0)
    bell.pass_by(10)
    assert bell.rang == rang
    assert bell.wake.at == inf
    assert bell.clock.getDelayedCalls() == []


def test_there_is_never_more_than_one_timer() -> None:
    """However often it is set."""
    bell = Bell()
    for due in (20.0, 19.0, 30.0, 12.0, 12.0, 15.0):
        bell.wake.set(due)
        assert len(bell.clock.getDelayedCalls()) == 1
    bell.wake.set(inf)
    assert bell.clock.getDelayedCalls() == []


def test_it_may_be_set_while_it_rings() -> None:
    """As a turn does that finds that it was woken too early."""
    clock = Clock()
    rang: list[float] = []

    def ring() -> None:
        rang.append(clock.seconds())
        wake.set(clock.seconds() + 2.0 if len(rang) < 3 else inf)

    wake = Wake(clock, ring)
    wake.set(1.0)
    clock.pump([1.0] * 9)
    assert rang == [1.0, 3.0, 5.0]
    assert clock.getDelayedCalls() == []
