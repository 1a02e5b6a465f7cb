"""Whether the server lives and is ready: server/api/health.py."""

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
from tests.fakes.server import SteppedThreads
from tests.fakes.threads import Calls, outcomes


@dataclass
class HeartbeatHarness:
    """A heartbeat over two model threads, and the endpoints that tell of it."""

    names: tuple[str, ...] = ("model-0", "model-1")
    beats: list[bool] = field(default_factory=list)
    decoding: bool = True
    hung: bool = False

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
        self.api = HealthAPI(self.heartbeat, self.lifecycle)

    def wait(self, seconds: int, *, threads_work: bool = True) -> None:
        """Let *seconds* pass, one after the other."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            if threads_work:
                self.stepped.step()
            self.calls.drain()


def told(answer: Deferred[HTTPResponse]) -> tuple[int, Any]:  # Any: JSON
    """Return the status of an *answer* that is there, and what it says."""
    (response,) = outcomes(answer)
    assert isinstance(response, HTTPResponse)
    assert response.content_type == "application/json"
    return response.status, orjson.loads(response.body)


def test_threads_that_work_or_idle_are_alive_for_ever() -> None:
    """A ping a beat is enough."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    harness.heartbeat.start()
    harness.wait(int(MAX_SILENCE_SECONDS) * 3)
    assert told(harness.api.healthz(http_request())) == (
        200,
        {
            "alive": True,
            "reactor_lag_s": 0.0,
            "model_threads": [
                {"name": "model-0", "alive": True, "silent_s": 0.0},
                {"name": "model-1", "alive": True, "silent_s": 0.0},
            ],
        },
    )
    assert harness.beats == [True] * (int(MAX_SILENCE_SECONDS) * 3 + 1)
    harness.heartbeat.stop()


@pytest.mark.parametrize("state", [State.READY, State.DRAINING])
def test_a_thread_that_is_silent_too_long_is_dead(state: State) -> None:
    """One is enough; a run may take up to then, and life may come back."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(state)
    harness.heartbeat.start()
    harness.stepped.step()
    harness.stepped.started.remove(harness.threads[1])  # from now on it does not work
    harness.wait(int(MAX_SILENCE_SECONDS) - 1)
    assert told(harness.api.healthz(http_request()))[0] == 200
    harness.wait(1)
    status, content = told(harness.api.healthz(http_request()))
    assert status == 503
    assert content["alive"] is False
    assert content["model_threads"] == [
        {"name": "model-0", "alive": True, "silent_s": 0.0},
        {"name": "model-1", "alive": False, "silent_s": MAX_SILENCE_SECONDS},
    ]
    assert content["trouble"] == harness.heartbeat.trouble == "no heartbeat of model-1"
    harness.wait(1)
    assert harness.beats[-2:] == [False, False]
    harness.stepped.started.append(harness.threads[1])
    harness.wait(1)
    assert told(harness.api.healthz(http_request()))[0] == 200
    harness.heartbeat.stop()


def test_a_thread_that_has_ended_is_dead() -> None:
    """However short ago it was heard."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    harness.threads[0].stop()
    harness.wait(1)
    status, content = told(harness.api.healthz(http_request()))
    assert status == 503
    assert [thread["alive"] for thread in content["model_threads"]] == [False, True]


def test_a_server_that_cannot_decode_is_dead() -> None:
    """Its model threads may be as well as they like."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    assert told(harness.api.healthz(http_request()))[0] == 200
    harness.decoding = False
    status, content = told(harness.api.healthz(http_request()))
    assert (status, content["alive"]) == (503, False)
    assert [thread["alive"] for thread in content["model_threads"]] == [True, True]


def test_a_load_that_takes_long_is_no_death() -> None:
    """While the server starts it lives, however silent its threads; it says that they are."""
    harness = HeartbeatHarness()
    harness.heartbeat.start()
    harness.wait(int(MAX_SILENCE_SECONDS) * 2, threads_work=False)
    status, content = told(harness.api.healthz(http_request()))
    assert status == 200
    assert content["alive"] is True
    assert [thread["alive"] for thread in content["model_threads"]] == [False, False]
    harness.lifecycle.move(State.READY)
    assert told(harness.api.healthz(http_request()))[0] == 503
    harness.heartbeat.stop()


def test_a_server_without_a_thread_yet_lives() -> None:
    """Nothing is silent."""
    harness = HeartbeatHarness(names=())
    harness.lifecycle.move(State.READY)
    assert told(harness.api.healthz(http_request()))[0] == 200


def test_a_run_that_does_not_end_is_told_and_takes_no_more_requests() -> None:
    """Nobody should send any; the heartbeats may go on, and the watchdog is not told so."""
    harness = HeartbeatHarness()
    harness.lifecycle.move(State.READY)
    harness.heartbeat.start()
    harness.hung = True
    harness.wait(1)
    trouble = "a run of the model does not end"
    status, content = told(harness.api.healthz(http_request()))
    assert (status, content["alive"], content["trouble"]) == (503, False, trouble)
    assert told(harness.api.readyz(http_request())) == (
        503,
        {"ready": False, "state": "ready", "trouble": trouble},
    )
    harness.hung = False
    harness.wait(1)
    assert told(harness.api.readyz(http_request())) == (200, {"ready": True, "state": "ready"})
    assert harness.beats == [True, False, True]
    harness.heartbeat.stop()


def test_a_reactor_that_is_late_tells_by_how_much() -> None:
    """Some callback has blocked it."""
    harness = HeartbeatHarness()
    harness.heartbeat.start()
    assert harness.heartbeat.reactor_lag == 0.0
    harness.clock.advance(HEARTBEAT_INTERVAL_SECONDS + 2.5)
    assert told(harness.api.healthz(http_request()))[1]["reactor_lag_s"] == 2.5
    harness.clock.advance(0.5)
    assert harness.heartbeat.reactor_lag == 0.0
    harness.heartbeat.stop()


def test_a_heartbeat_that_has_stopped_is_still() -> None:
    """No timer is left, and a second stop does no harm."""
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
def test_a_server_is_ready_in_one_state_alone(
    path: tuple[State, ...], status: int, content: dict[str, object]
) -> None:
    """While it starts it tells how far it is."""
    harness = HeartbeatHarness()
    harness.lifecycle.progress = "warming up: 4 rows"
    for state in path:
        harness.lifecycle.move(state)
    assert told(harness.api.readyz(http_request())) == (status, content)
