"""The reactor's timers with a monotonic clock: server/clock.py."""

import time

import pytest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from server.clock import MonotonicTime


def test_it_provides_the_interface_of_a_clock() -> None:
    """Every method of `IReactorTime`."""
    assert verifyObject(IReactorTime, MonotonicTime(Clock()))


def test_its_seconds_are_not_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the machine, which may be set back, nor of the reactor, which follows it."""
    reactor = Clock()
    reactor.advance(1e9)
    monkeypatch.setattr(time, "monotonic", lambda: 64.0)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert MonotonicTime(reactor).seconds() == 64.0


def test_its_timers_are_those_of_the_reactor() -> None:
    """They call the function with its arguments, and can be cancelled."""
    reactor = Clock()
    clock = MonotonicTime(reactor)
    calls: list[tuple[object, ...]] = []

    def record(*args: object, **kwargs: object) -> None:
        calls.append((*args, *kwargs.items()))

    first = clock.callLater(4.0, record, 1, two=2)
    second = clock.callLater(4.0, record)
    assert clock.getDelayedCalls() == [first, second] == reactor.getDelayedCalls()
    second.cancel()
    reactor.advance(3.0)
    assert calls == []
    reactor.advance(1.0)
    assert calls == [(1, ("two", 2))]
    assert clock.getDelayedCalls() == []
