"""Whether the server is alive and ready: server/api/health.py, server/heartbeat.py."""

from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from server.api.health import HealthAPI
from server.heartbeat import HEARTBEAT_INTERVAL_SECONDS, MAX_SILENCE_SECONDS, Heartbeat
from server.http.messages import HTTPResponse
from server.lifecycle import Lifecycle, State
from tests.fakes.http import http_request
from tests.fakes.server import Log, SteppedThreads
from tests.fakes.threads import Calls, outcomes


@dataclass
class HeartbeatHarness:
    """A heartbeat over two fake model threads, and the endpoints that report it."""

    names: tuple[str, ...] = ("model-0", "model-1")
    beats: list[bool] = field(default_factory=list)
    decoding: bool = True
    hung: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Start the threads."""
        self.clock = Clock()
        self.calls = Calls()
        self.stepped = SteppedThreads()
        self.threads = [
            self.stepped(
                name, SimpleQueue(), call_from_thread=self.calls, seconds=self.clock.seconds
            )
            for name in self.names
        ]
        for thread in self.threads:
            thread.start()
        self.heartbeat = Heartbeat(
            self.clock,
            lambda: self.threads,
            decoding=lambda: self.decoding,
            hung=lambda: self.hung,
            on_beat=self.beats.append,
        )
        self.lifecycle = Lifecycle()
        self.has_model = True
        self.api = HealthAPI(self.heartbeat, self.lifecycle, lambda: self.has_model)

    def wait(self, seconds: int, *, threads_work: bool = True) -> None:
        """Advance the time by *seconds*, in steps of one second."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            if threads_work:
                self.stepped.step()
            self.calls.drain()


def content_of(answer: Deferred[HTTPResponse]) -> tuple[int, Any]:  # Any: JSON
    """Return the status and the JSON of a completed *answer*."""
    (response,) = outcomes(answer)
    assert isinstance(response, HTTPResponse)
    assert response.content_type == "application/json"
    return response.status, orjson.loads(response.body)


def healthz(harness: HeartbeatHarness) -> tuple[int, list[bool]]:
    """Return the status of the server's health, and whether each thread is alive."""
    status, content = content_of(harness.api.healthz(http_request()))
    assert content["alive"] == (status == 200)
    assert ("trouble" in content) == (status != 200)
    return status, [thread["alive"] for thread in content["model_threads"]]


def test_threads_that_work_or_idle_are_alive_for_ever() -> None:
    """One ping at each heartbeat is enough."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    harness.heartbeat.start()
    harness.wait(int(MAX_SILENCE_SECONDS) * 3)
    threads = [{"name": f"model-{n}", "alive": True, "silent_s": 0.0} for n in (0, 1)]
    content = {"alive": True, "reactor_lag_s": 0.0, "model_threads": threads}
    assert content_of(harness.api.healthz(http_request())) == (200, content)
    assert harness.beats == [True] * (int(MAX_SILENCE_SECONDS) * 3 + 1)
    harness.heartbeat.stop()


@pytest.mark.parametrize("state", [State.READY, State.DRAINING])
def test_a_thread_that_is_silent_too_long_is_dead(state: State) -> None:
    """One such thread makes the server dead, until the thread answers again."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(state)
    harness.heartbeat.start()
    harness.stepped.step()
    harness.stepped.started.remove(harness.threads[1])  # from here on the thread does nothing
    harness.wait(int(MAX_SILENCE_SECONDS) - 1)
    assert healthz(harness) == (200, [True, True])
    harness.wait(1)
    assert healthz(harness) == (503, [True, False])
    content = content_of(harness.api.healthz(http_request()))[1]
    assert [it["silent_s"] for it in content["model_threads"]] == [0.0, MAX_SILENCE_SECONDS]
    assert content["trouble"] == harness.heartbeat.trouble == "no heartbeat of model-1"
    harness.wait(1)
    assert harness.beats[-2:] == [False, False]
    harness.stepped.started.append(harness.threads[1])
    harness.wait(1)
    assert healthz(harness) == (200, [True, True])
    harness.heartbeat.stop()


def test_a_thread_that_has_ended_is_dead_and_so_is_a_server_that_cannot_decode() -> None:
    """Even if the last heartbeat is recent; no thread is silent where there is none."""
    ended, deaf, bare = HeartbeatHarness(), HeartbeatHarness(), HeartbeatHarness(names=())
    for harness in (ended, deaf, bare):
        harness.lifecycle.move(State.READY)
    ended.threads[0].stop()
    ended.wait(1)
    assert healthz(deaf) == (200, [True, True])
    deaf.decoding = False
    assert (healthz(ended), healthz(deaf)) == ((503, [False, True]), (503, [True, True]))
    assert healthz(bare) == (200, [])


def test_a_long_load_does_not_make_the_server_dead() -> None:
    """While it starts, the server is alive even if its threads are silent, which it reports."""
    harness = HeartbeatHarness()
    harness.heartbeat.start()
    harness.wait(int(MAX_SILENCE_SECONDS) * 2, threads_work=False)
    assert healthz(harness) == (200, [False, False])
    harness.lifecycle.move(State.READY)
    assert healthz(harness)[0] == 503
    harness.heartbeat.stop()


def test_a_run_that_does_not_end_makes_the_server_dead_and_not_ready(log: Log) -> None:
    """Even while the threads answer pings; the watchdog gets no signal, and the log two lines."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    harness.heartbeat.start()
    harness.hung = ("slow/1", "slow/1")
    harness.wait(2)
    trouble = "a run of slow/1 does not end"
    status, content = content_of(harness.api.healthz(http_request()))
    assert (status, content["alive"], content["trouble"]) == (503, False, trouble)
    assert content_of(harness.api.readyz(http_request())) == (
        503,
        {"ready": False, "state": "ready", "trouble": trouble},
    )
    harness.hung = ()
    harness.wait(1)
    assert content_of(harness.api.readyz(http_request())) == (
        200,
        {"ready": True, "state": "ready"},
    )
    assert harness.beats == [True, False, False, True]
    assert log.lines() == [f"the server is not alive: {trouble}", "the server is alive again"]
    harness.heartbeat.stop()


def test_the_lag_of_the_reactor_is_reported() -> None:
    """As after a callback that has blocked it."""
    harness = HeartbeatHarness()
    harness.heartbeat.start()
    assert harness.heartbeat.reactor_lag == 0.0
    harness.clock.advance(HEARTBEAT_INTERVAL_SECONDS + 2.5)
    assert content_of(harness.api.healthz(http_request()))[1]["reactor_lag_s"] == 2.5
    harness.clock.advance(0.5)
    assert harness.heartbeat.reactor_lag == 0.0
    harness.heartbeat.stop()


def test_a_stopped_heartbeat_has_no_timer() -> None:
    """A second stop, or one before the start, has no effect."""
    harness = HeartbeatHarness()
    harness.heartbeat.stop()
    harness.heartbeat.start()
    harness.heartbeat.stop()
    harness.heartbeat.stop()
    assert harness.clock.getDelayedCalls() == []
    assert harness.beats == [True]


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ((), 503, {"ready": False, "state": "starting", "progress": "warming up: 4 rows"}),
        ((State.READY,), 200, {"ready": True, "state": "ready"}),
        ((State.READY, State.DRAINING), 503, {"ready": False, "state": "draining"}),
        ((State.DRAINING,), 503, {"ready": False, "state": "draining"}),
        ((State.DRAINING, State.STOPPED), 503, {"ready": False, "state": "stopped"}),
    ],
)
def test_a_server_is_ready_in_one_state_only(
    path: tuple[State, ...], status: int, content: dict[str, object]
) -> None:
    """While it starts, the answer holds the progress."""
    harness = HeartbeatHarness()
    harness.lifecycle.progress = "warming up: 4 rows"
    for state in path:
        harness.lifecycle.move(state)
    assert content_of(harness.api.readyz(http_request())) == (status, content)


def test_a_server_without_a_model_is_alive_and_not_ready() -> None:
    """When all models of its repository have been unloaded."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    assert content_of(harness.api.readyz(http_request()))[0] == 200
    harness.has_model = False
    expected = {"ready": False, "state": "ready", "trouble": "no model is served"}
    assert content_of(harness.api.readyz(http_request())) == (503, expected)
    assert healthz(harness)[0] == 200
