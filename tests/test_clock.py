"""Timers beside a clock that never jumps: server/clock.py."""

import time

import pytest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from server.clock import MonotonicTime


def test_it_is_what_twisted_takes_for_a_clock() -> None:
    """All of it."""
    assert verifyObject(IReactorTime, MonotonicTime(Clock()))


def test_its_seconds_are_not_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the machine's, which may be set back, nor the reactor's, which follows it."""
    reactor = Clock()
    reactor.advance(1e9)
    monkeypatch.setattr(time, "monotonic", lambda: 64.0)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert MonotonicTime(reactor).seconds() == 64.0


def test_its_timers_are_the_reactors() -> None:
    """They ring there, with what they were given, and can be called off."""
    reactor = Clock()
    clock = MonotonicTime(reactor)
    rung: list[tuple[object, ...]] = []

    def ring(*args: object, **kwargs: object) -> None:
        rung.append((*args, *kwargs.items()))

    first = clock.callLater(4.0, ring, 1, two=2)
    second = clock.callLater(4.0, ring)
    assert clock.getDelayedCalls() == [first, second] == reactor.getDelayedCalls()
    second.cancel()
    reactor.advance(3.0)
    assert rung == []
    reactor.advance(1.0)
    assert rung == [(1, ("two", 2))]
    assert clock.getDelayedCalls() == []
