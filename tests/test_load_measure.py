"""One load on one server: scripts/load/measure.py; CPU times are real."""

import random
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from scripts.load.measure import (
    LINGER_SECONDS,
    TICK_SECONDS,
    ClosedLoop,
    Load,
    LoadSettings,
    Measurement,
    OpenLoop,
    Outcome,
    Progress,
    Server,
)
from tests.fakes.clock import ClockReactor
from tests.fakes.load import FakeEndpoint, plain


class LoadHarness:
    """A load that has begun, and the endpoint of its server."""

    def __init__(self, load: Load, timeout: float = 60.0, warmup: float = 0.0) -> None:
        self.reactor = ClockReactor()
        self.endpoint = FakeEndpoint(self.reactor)
        self._timers_left = isinstance(load, ClosedLoop)  # the timer of its end remains
        self.progress_seen: list[Progress] = []
        self.outcomes: list[Outcome] = []
        server = Server("name", self.endpoint, [b"a", b"b"])
        settings = LoadSettings(warmup, connections=10, timeout=timeout, slo=30.0, seed=1)
        self.measurement = Measurement(
            self.reactor, server, load, settings, self.progress_seen.append
        )
        running: Deferred[Outcome] = ensureDeferred(self.measurement.run())
        running.addCallback(self.outcomes.append)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the load, which must have released its resources."""
        (outcome,) = self.outcomes
        self.reactor.advance(0)
        assert self.reactor.readers == []
        assert all(transport.ending for transport in self.endpoint.transports)
        assert len(self.reactor.getDelayedCalls()) == self._timers_left
        return outcome


def at(*times: float) -> OpenLoop:
    """Return an open loop with those of the arrival *times* that are within its seconds."""

    def arrivals(seconds: float, _: random.Random) -> Iterator[float]:
        return (time for time in times if time < seconds)

    return OpenLoop("name", arrivals, 100.0)


def test_a_load_shorter_than_a_tick_still_reports_its_cpu_time() -> None:
    """A busy client must not look idle because its load was short."""
    harness = LoadHarness(at(0.0))
    sum(range(2_000_000))  # the kernel counts every few milliseconds
    harness.endpoint.accept().send(plain())
    assert harness.outcome.summary.client_cores > 0


def test_a_load_ends_when_all_that_was_sent_has_finished() -> None:
    """Its requests go out in turn; its figures come with its record."""
    harness = LoadHarness(at(0.0, 0.0))
    first, second = harness.endpoint.accept(), harness.endpoint.accept()
    assert (first.requests, second.requests) == ([b"a"], [b"b"])
    first.send(plain())
    assert harness.outcomes == []
    second.send(plain(b"", "503 Busy"))
    summary = harness.outcome.summary
    assert (summary.sent, summary.answered, summary.refused) == (2, 1, 1)
    assert (summary.duration, summary.connections, summary.slo_ms) == (100.0, 2, 30_000.0)
    assert harness.outcome.record.sent == 2


def test_each_tick_reports_progress_and_fails_late_requests() -> None:
    """A timeout is noticed without an answer."""
    harness = LoadHarness(at(0.0), timeout=0.0)
    harness.endpoint.accept()
    harness.reactor.advance(TICK_SECONDS)
    assert harness.outcome.summary.error_kinds == {"no answer within 0 s": 1}
    (progress,) = harness.progress_seen
    assert progress.record is harness.outcome.record
    assert progress.in_flight == 0


def test_the_figures_of_a_stopped_open_loop_are_over_the_time_until_then() -> None:
    """Rates are not over the planned duration."""
    harness = LoadHarness(at(0.0, 50.0))
    harness.measurement.stop()
    harness.endpoint.accept().send(plain())
    assert harness.outcome.summary.sent == 1
    assert TICK_SECONDS <= harness.outcome.summary.duration < 50


def test_a_load_that_is_stopped_in_its_warm_up_has_sent_nothing_that_counts() -> None:
    """Its duration is one tick, so that rates can be computed."""
    harness = LoadHarness(at(0.0), warmup=50.0)
    harness.endpoint.accept().send(plain())
    assert (harness.outcome.summary.sent, harness.outcome.summary.duration) == (0, 100.0)
    harness = LoadHarness(at(0.0, 120.0), warmup=50.0)
    harness.measurement.stop()
    harness.endpoint.accept().send(plain())
    assert (harness.outcome.summary.sent, harness.outcome.summary.duration) == (0, TICK_SECONDS)


def test_a_stopped_closed_loop_does_not_wait_for_what_may_never_come() -> None:
    """Until then its clients go on, each on its own connection; a late answer is left out."""
    harness = LoadHarness(ClosedLoop(2, 100.0))
    transports = [harness.endpoint.accept(), harness.endpoint.accept()]
    for transport in transports:
        transport.send(plain())
    assert [len(transport.requests) for transport in transports] == [2, 2]
    harness.measurement.stop()
    transports[0].send(plain())
    harness.reactor.advance(LINGER_SECONDS - 0.1)
    assert harness.outcomes == []
    harness.reactor.advance(0.1)
    assert (harness.outcome.summary.sent, harness.outcome.summary.answered) == (3, 3)


@pytest.mark.parametrize("load", [at(), ClosedLoop(1, 1.0)])
def test_stopping_twice_is_stopping_once(load: Load) -> None:
    """Also where there is nothing left to stop."""
    harness = LoadHarness(load)
    harness.measurement.stop()
    harness.measurement.stop()
    if harness.endpoint.waiting:
        harness.endpoint.accept().send(plain())
    assert harness.outcomes
