"""Whether the server lives and is ready: server/api/health.py."""

from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from server.api.health import HealthAPI
from server.heartbeat import BEAT, SILENCE, Heartbeat
from server.http.messages import HTTPResponse
from server.lifecycle import Lifecycle, State
from tests.fakes.http import http_request
from tests.fakes.server import SteppedThreads
from tests.fakes.threads import Calls, outcomes


@dataclass
class World:
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
    world = World()
    world.lifecycle.move(State.READY)
    world.heartbeat.start()
    world.wait(int(SILENCE) * 3)
    assert told(world.api.healthz(http_request())) == (
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
    assert world.beats == [True] * (int(SILENCE) * 3 + 1)
    world.heartbeat.stop()


@pytest.mark.parametrize("state", [State.READY, State.DRAINING])
def test_a_thread_that_is_silent_too_long_is_dead(state: State) -> None:
    """One is enough; a run may take up to then, and life may come back."""
    world = World()
    world.lifecycle.move(state)
    world.heartbeat.start()
    world.stepped.step()
    world.stepped.started.remove(world.threads[1])  # from now on it does not work
    world.wait(int(SILENCE) - 1)
    assert told(world.api.healthz(http_request()))[0] == 200
    world.wait(1)
    status, content = told(world.api.healthz(http_request()))
    assert status == 503
    assert content["alive"] is False
    assert content["model_threads"] == [
        {"name": "model-0", "alive": True, "silent_s": 0.0},
        {"name": "model-1", "alive": False, "silent_s": SILENCE},
    ]
    assert content["trouble"] == world.heartbeat.trouble == "no heartbeat of model-1"
    world.wait(1)
    assert world.beats[-2:] == [False, False]
    world.stepped.started.append(world.threads[1])
    world.wait(1)
    assert told(world.api.healthz(http_request()))[0] == 200
    world.heartbeat.stop()


def test_a_thread_that_has_ended_is_dead() -> None:
    """However short ago it was heard."""
    world = World()
    world.lifecycle.move(State.READY)
    world.threads[0].stop()
    world.wait(1)
    status, content = told(world.api.healthz(http_request()))
    assert status == 503
    assert [pulse["alive"] for pulse in content["model_threads"]] == [False, True]


def test_a_server_that_cannot_decode_is_dead() -> None:
    """Its model threads may be as well as they like."""
    world = World()
    world.lifecycle.move(State.READY)
    assert told(world.api.healthz(http_request()))[0] == 200
    world.decoding = False
    status, content = told(world.api.healthz(http_request()))
    assert (status, content["alive"]) == (503, False)
    assert [pulse["alive"] for pulse in content["model_threads"]] == [True, True]


def test_a_load_that_takes_long_is_no_death() -> None:
    """While the server starts it lives, however silent its threads; it says that they are."""
    world = World()
    world.heartbeat.start()
    world.wait(int(SILENCE) * 2, threads_work=False)
    status, content = told(world.api.healthz(http_request()))
    assert status == 200
    assert content["alive"] is True
    assert [pulse["alive"] for pulse in content["model_threads"]] == [False, False]
    world.lifecycle.move(State.READY)
    assert told(world.api.healthz(http_request()))[0] == 503
    world.heartbeat.stop()


def test_a_server_without_a_thread_yet_lives() -> None:
    """Nothing is silent."""
    world = World(names=())
    world.lifecycle.move(State.READY)
    assert told(world.api.healthz(http_request()))[0] == 200


def test_a_run_that_does_not_end_is_told_and_takes_no_more_requests() -> None:
    """Nobody should send any; the heartbeats may go on, and the watchdog is not told so."""
    world = World()
    world.lifecycle.move(State.READY)
    world.heartbeat.start()
    world.hung = True
    world.wait(1)
    trouble = "a run of the model does not end"
    status, content = told(world.api.healthz(http_request()))
    assert (status, content["alive"], content["trouble"]) == (503, False, trouble)
    assert told(world.api.readyz(http_request())) == (
        503,
        {"ready": False, "state": "ready", "trouble": trouble},
    )
    world.hung = False
    world.wait(1)
    assert told(world.api.readyz(http_request())) == (200, {"ready": True, "state": "ready"})
    assert world.beats == [True, False, True]
    world.heartbeat.stop()


def test_a_reactor_that_is_late_tells_by_how_much() -> None:
    """Some callback has blocked it."""
    world = World()
    world.heartbeat.start()
    assert world.heartbeat.reactor_lag == 0.0
    world.clock.advance(BEAT + 2.5)
    assert told(world.api.healthz(http_request()))[1]["reactor_lag_s"] == 2.5
    world.clock.advance(0.5)
    assert world.heartbeat.reactor_lag == 0.0
    world.heartbeat.stop()


def test_a_heartbeat_that_has_stopped_is_still() -> None:
    """No timer is left, and a second stop does no harm."""
    world = World()
    world.heartbeat.stop()
    world.heartbeat.start()
    world.heartbeat.stop()
    world.heartbeat.stop()
    assert world.clock.getDelayedCalls() == []
    assert world.beats == [True]


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
    world = World()
    world.lifecycle.progress = "warming up: 4 rows"
    for state in path:
        world.lifecycle.move(state)
    assert told(world.api.readyz(http_request())) == (status, content)
