"""Call a function on time: scripts/load/precise_timer.py; the timer is Linux's own."""

import os
import select
import time
from collections.abc import Iterator
from functools import partial

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure

from scripts.load.precise_timer import PreciseTimer


class FakeReactor:
    """The part of a reactor that the timer needs; a test makes its turns."""

    def __init__(self) -> None:
        self.readers: set[IReadDescriptor] = set()

    def addReader(self, reader: IReadDescriptor) -> None:
        """Watch it."""
        self.readers.add(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch it no more."""
        self.readers.remove(reader)

    def turn(self, milliseconds: int = 1000) -> bool:
        """Wait for any of them to be readable; returns whether one was."""
        poll = select.poll()
        by_number = {reader.fileno(): reader for reader in self.readers}
        for number in by_number:
            poll.register(number, select.POLLIN)
        ready = poll.poll(milliseconds)
        for number, _ in ready:
            by_number[number].doRead()
        return bool(ready)


@pytest.fixture
def reactor() -> FakeReactor:
    """A reactor without anything to watch."""
    return FakeReactor()


@pytest.fixture
def timer(reactor: FakeReactor) -> Iterator[PreciseTimer]:
    """A timer that is not set."""
    timer = PreciseTimer(reactor)  # type: ignore[arg-type]  # the part that it needs
    yield timer
    if reactor.readers:
        timer.close()


def test_it_calls_on_time_and_once(reactor: FakeReactor, timer: PreciseTimer) -> None:
    """Not before, and not again."""
    called: list[float] = []
    when = time.monotonic() + 0.003
    timer.at(when, lambda: called.append(time.monotonic()))
    assert reactor.turn()
    assert called[0] >= when
    assert not reactor.turn(0)
    assert len(called) == 1


def test_the_time_set_last_counts(reactor: FakeReactor, timer: PreciseTimer) -> None:
    """A time that has passed is the reactor's next turn; also if one set before has passed."""
    called: list[float] = []
    for when in (-1.0, 0.0, 1e-9):
        timer.at(time.monotonic() + 3600, lambda: called.append(0.0))
        timer.at(when, partial(called.append, when))
        assert when not in called
        assert reactor.turn()
    timer.at(0.0, lambda: called.append(1.0))
    timer.at(time.monotonic() + 3600, lambda: called.append(0.0))
    assert not reactor.turn(0)
    timer.doRead()  # as a reactor does that had looked before it was set anew
    assert called == [-1.0, 0.0, 1e-9]


def test_what_it_calls_may_set_it_again(reactor: FakeReactor, timer: PreciseTimer) -> None:
    """One after the other, in order."""
    called: list[int] = []

    def call() -> None:
        called.append(len(called))
        if len(called) < 4:
            timer.at(time.monotonic() + 0.0002, call)

    timer.at(0.0, call)
    while reactor.turn(20):
        pass
    assert called == [0, 1, 2, 3]


def test_closed_it_is_gone(reactor: FakeReactor, timer: PreciseTimer) -> None:
    """The reactor watches it no more, and the descriptor is closed."""
    number = timer.fileno()
    assert timer.logPrefix() == "precise timer"
    timer.connectionLost(Failure(ConnectionDone()))
    timer.close()
    assert reactor.readers == set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
