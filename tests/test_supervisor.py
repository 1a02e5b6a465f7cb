"""The supervisor of several workers: server/workers/supervisor.py and slot.py."""

import errno

import pytest
from twisted.internet.defer import Deferred

from server.metrics.declared import WORKER_RESTARTS
from server.metrics.readings import Readings
from tests.fakes.server import Log
from tests.fakes.threads import outcomes
from tests.fakes.workers import SupervisorHarness

pytestmark = pytest.mark.usefixtures("surroundings", "log")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> SupervisorHarness:
    """Return a supervisor of two workers, not started."""
    return SupervisorHarness(monkeypatch)


def test_the_others_start_when_worker_0_is_ready(harness: SupervisorHarness) -> None:
    """Worker 0 accepts connections while it loads; the sockets of the others open later."""
    harness.start()
    assert harness.happened() == ["0a start, accepts at once"]
    harness.started["0a"].ready()
    assert harness.happened() == ["0 open", "1a start"]
    assert len(harness.supervisor.channels()) == 1
    harness.started["1a"].ready()
    assert harness.happened() == ["1 open"]
    assert harness.readiness == ["ready"]
    assert harness.notified.count("READY=1") == 1
    assert harness.notified[-1] == "STATUS=2 of 2 workers are ready"
    assert harness.supervisor.channels() == [it.channel for it in harness.started.values()]


def test_a_registry_lists_the_workers_while_one_of_them_is_ready_and_well(
    harness: SupervisorHarness, log: Log
) -> None:
    """All workers are one server for it."""
    harness.start()
    found = [harness.is_ready()]
    harness.started["0a"].ready()
    found.append(harness.is_ready())
    harness.started["1a"].ready()
    for name, is_well in (("0a", False), ("1a", False), ("0a", True)):
        harness.started[name].beat(is_well)
        found.append(harness.is_ready())
    harness.started["0a"].end(-9)
    found.append(harness.is_ready())
    assert found == [False, True, True, False, True, False]
    assert len(log.flush_errors()) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, ""),  # its own line is in the log
        (-9, "worker 0 was ended by SIGKILL before it was ready"),
        (2, "worker 0 has ended with exit code 2 before it was ready"),
    ],
)
def test_a_first_worker_that_fails_ends_the_start(
    code: int, reason: str, harness: SupervisorHarness
) -> None:
    """It is not started again."""
    harness.start()
    harness.started["0a"].end(code)
    harness.wait(60)
    assert harness.failures == [reason]
    assert list(harness.started) == ["0a"]


def test_a_first_worker_that_cannot_be_started_ends_the_start_later(
    harness: SupervisorHarness,
) -> None:
    """When the reactor runs: twistd starts its services before."""
    harness.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    harness.start()
    assert harness.failures == []
    harness.clock.advance(0)
    reason = "could not be started: Resource temporarily unavailable"
    assert harness.failures == [f"worker 0 {reason} before it was ready"]
    stopped = outcomes(harness.supervisor.stopService())
    assert stopped == [None]


def test_a_worker_that_cannot_be_started_is_started_again_with_backoff(
    harness: SupervisorHarness, log: Log
) -> None:
    """As one that has ended."""
    harness.ready()
    harness.started["1a"].end(-9)
    harness.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    harness.wait(1)
    harness.clock.advance(0)
    harness.refusal = None
    harness.wait(2)
    assert list(harness.started) == ["0a", "1a", "1b"]
    reason = "worker 1 could not be started: Resource temporarily unavailable"
    assert log.flush_errors()[1:] == [f"{reason}; it is started again in 2 s"]


def test_a_worker_that_ends_is_started_again_with_backoff(
    harness: SupervisorHarness, log: Log
) -> None:
    """Its socket is shut meanwhile; 60 s of service make the next delay short again."""
    harness.ready()
    harness.started["1a"].end(-9)
    harness.clock.advance(0.9)
    assert harness.happened() == ["1 shut"]
    harness.clock.advance(0.1)
    harness.started["1b"].end(1)
    harness.clock.advance(2)
    assert harness.happened() == ["1b start", "1 shut", "1c start"]
    harness.started["1c"].ready()
    harness.wait(60, ["0a", "1c"])
    assert harness.happened() == ["1 open"]
    harness.started["1c"].end(0)
    harness.clock.advance(1)
    assert harness.happened() == ["1 shut", "1d start"]
    assert log.flush_errors() == [
        "worker 1 was ended by SIGKILL; it is started again in 1 s",
        "worker 1 has ended with exit code 1; it is started again in 2 s",
        "worker 1 has ended with exit code 0; it is started again in 1 s",
    ]
    assert harness.supervisor.ended_well


def test_a_worker_that_is_stopped_alone_leaves_connections_to_the_others(
    harness: SupervisorHarness,
) -> None:
    """Its socket is shut when it accepts no more, although it still answers requests."""
    harness.ready()
    harness.started["1a"].call["closed"](None)
    assert harness.happened() == ["1 shut"]
    assert harness.supervisor.channels() == [harness.started["0a"].channel]
    assert [it.state for it in harness.supervisor.workers()] == ["ready", "leaving"]
    harness.started["0a"].beat(is_well=False)
    assert not harness.is_ready()
    harness.supervisor.roll()
    harness.started["0b"].ready()
    harness.started["0a"].call["closed"](None)
    assert harness.happened() == ["0b start", "0 open", "0a succeeded", "0a SIGTERM"]


def test_workers_are_replaced_one_by_one(harness: SupervisorHarness) -> None:
    """The call "succeeded" goes to the old one before SIGTERM; the next waits for its end."""
    harness.ready()
    harness.supervisor.roll()
    assert harness.happened() == ["0b start"]
    harness.started["0b"].ready()
    assert harness.happened() == ["0 open", "0a succeeded", "0a SIGTERM"]
    harness.supervisor.roll()  # ignored
    harness.started["0a"].end(0)
    assert harness.happened() == ["1b start"]
    harness.started["1b"].ready()
    harness.started["1a"].end(0)
    assert harness.happened() == ["1 open", "1a succeeded", "1a SIGTERM"]
    harness.supervisor.roll()
    assert harness.happened() == ["0c start"]


def test_a_failed_successor_ends_the_roll(harness: SupervisorHarness, log: Log) -> None:
    """The old worker stays, and its socket; the next roll begins anew."""
    harness.ready()
    harness.supervisor.roll()
    harness.started["0b"].end(1)
    harness.wait(60, ["0a", "1a"])
    assert harness.happened() == ["0b start"]
    assert log.flush_errors() == [
        "the new worker 0 has ended with exit code 1",
        "the workers from 0 on are not replaced",
    ]
    harness.supervisor.roll()
    assert harness.happened() == ["0c start"]


def test_a_successor_that_has_ended_cannot_become_ready(
    harness: SupervisorHarness, log: Log
) -> None:
    """Its report is read from the connection after its end: the old worker continues to serve."""
    harness.ready()
    serving = harness.supervisor.channels()
    harness.supervisor.roll()
    harness.started["0b"].end(-9)
    assert harness.started["0b"].ready() is False
    assert harness.happened() == ["0b start"]
    assert harness.supervisor.channels() == serving
    assert len(log.flush_errors()) == 2


def test_a_successor_follows_a_worker_that_has_crashed(
    harness: SupervisorHarness, log: Log
) -> None:
    """No third process is started, and the roll goes on."""
    harness.ready()
    harness.supervisor.roll()
    harness.started["0a"].end(-11)
    harness.wait(5, ["0b", "1a"])
    harness.started["0b"].ready()
    assert harness.happened() == ["0b start", "0 shut", "0 open", "1b start"]
    assert log.flush_errors() == ["worker 0 was ended by SIGSEGV"]


def test_a_silent_worker_is_killed(harness: SupervisorHarness, log: Log) -> None:
    """After 60 s without a beat."""
    harness.ready()
    harness.wait(59, ["0a"])
    assert harness.happened() == []
    harness.wait(60, ["0a"])
    assert harness.happened() == ["1a SIGKILL"]
    assert log.flush_errors() == ["worker 1 has not run for 60 s: it is killed"]


def test_a_silent_start_is_killed_later(harness: SupervisorHarness, log: Log) -> None:
    """After 300 s, because the import of TensorFlow may block the process for minutes."""
    harness.start()
    harness.wait(10, ["0a"])
    harness.wait(298)
    assert harness.happened() == ["0a start, accepts at once"]
    harness.started["0a"].ready()
    harness.happened()
    harness.wait(59, ["0a"])
    harness.wait(240, ["0a"])
    assert harness.happened() == []
    harness.wait(1, ["0a"])
    assert harness.happened() == ["1a SIGKILL"]
    assert log.flush_errors() == ["worker 1 has not run for 300 s: it is killed"]


def test_systemd_gets_the_watchdog_signal_while_workers_serve_or_start(
    harness: SupervisorHarness, log: Log
) -> None:
    """Not while a ready worker has trouble or is silent, nor while there is no process."""

    def signals(*beats: str) -> bool:
        harness.notified.clear()
        harness.wait(1, beats)
        return "WATCHDOG=1" in harness.notified

    harness.start()
    assert signals()  # worker 0 starts
    harness.started["0a"].ready()
    harness.started["1a"].ready()
    assert signals("0a", "1a")
    harness.started["0a"].beat(is_well=False)
    assert not signals("1a")
    assert signals("0a", "1a")
    for _ in range(4):
        assert signals("0a")
    assert not signals("0a")  # the other is silent for more than 5 s
    for name in ("0a", "1a"):
        harness.started[name].end(-9)
    harness.wait(1)
    assert signals()  # both start again
    for name in ("0b", "1b"):
        harness.started[name].end(-9)
    assert not signals()
    harness.wait(1)
    assert signals()
    assert len(log.flush_errors()) == 4


def test_a_stop_waits_for_all_workers(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """After the registry; a pending start is cancelled, a successor is stopped as well."""
    withdrawn: Deferred[None] = Deferred()
    harness = SupervisorHarness(monkeypatch, 3, withdraw=lambda: withdrawn).ready()
    harness.started["2a"].end(-9)
    harness.supervisor.roll()
    harness.happened()
    stopped = outcomes(harness.supervisor.stopService())
    assert harness.happened() == []
    withdrawn.callback(None)
    assert harness.happened() == ["all close", "0a SIGTERM", "0b SIGTERM", "1a SIGTERM"]
    for name, code in (("0b", -15), ("0a", 0), ("1a", 0)):
        assert stopped == []
        harness.started[name].end(code)
    assert harness.happened() == ["all remove paths"]
    assert stopped == [None]
    assert harness.supervisor.ended_well  # 0b was not ready
    harness.wait(60)
    assert len(harness.started) == 4
    assert harness.clock.getDelayedCalls() == []
    assert len(log.flush_errors()) == 1


def test_a_worker_that_drops_requests_at_the_stop_is_reported(
    harness: SupervisorHarness, log: Log
) -> None:
    """The exit code is then not 0."""
    harness.ready()
    stopped = outcomes(harness.supervisor.stopService())
    harness.supervisor.abort()
    assert harness.happened() == ["all close", "0a SIGTERM", "1a SIGTERM", "0a abort", "1a abort"]
    harness.clock.advance(5)
    assert harness.happened() == ["0a SIGKILL", "1a SIGKILL"]
    harness.started["0a"].end(1)
    harness.started["1a"].end(-9)
    assert stopped == [None]
    assert not harness.supervisor.ended_well
    assert log.flush_errors() == [
        "worker 0 has ended with exit code 1",
        "worker 1 was ended by SIGKILL",
    ]


def test_the_reports_are_of_all_processes_that_have_not_ended(
    harness: SupervisorHarness, log: Log
) -> None:
    """Also of those that have or are a successor; a restart after a crash is counted, no other."""

    def states() -> list[tuple[int, str]]:
        return [(it.index, it.state) for it in harness.supervisor.workers()]

    def restarts() -> float:
        fired = outcomes(harness.supervisor.reports.collect())
        (total,) = fired
        assert isinstance(total, Readings)
        return total.numbers[WORKER_RESTARTS][()]

    harness.ready()
    harness.supervisor.roll()
    assert states() == [(0, "ready"), (0, "starting"), (1, "ready")]
    harness.started["0b"].ready()
    assert states() == [(0, "leaving"), (0, "ready"), (1, "ready")]
    harness.started["0a"].end(0)
    assert states() == [(0, "ready"), (1, "ready"), (1, "starting")]
    assert restarts() == 0
    harness.started["0b"].end(-9)
    assert restarts() == 0
    harness.clock.advance(1)
    assert states() == [(0, "starting"), (1, "ready"), (1, "starting")]
    assert restarts() == 1
    assert log.flush_errors() == ["worker 0 was ended by SIGKILL; it is started again in 1 s"]
