"""All that runs one model, started, used and stopped: server/model_host.py."""

from math import inf
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError

from batcher.errors import OutOfMemory, RunFailed, RunHung, ShuttingDown
from model.errors import ModelError
from model.execution.decode_pool import PoolNotRunning
from server.inference import Inference, Prediction
from server.settings.table import Settings
from tests.fakes.model_host import World
from tests.fakes.server import (
    LABELS,
    Log,
)
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep run times in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


# --- start


def test_a_host_that_was_not_started_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, no model: a process may still fork."""
    world = World(monkeypatch)
    assert world.threads.started == []
    assert world.decoders.threads == []
    assert world.loader.loads == 0


def test_a_model_is_loaded_on_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never on the reactor's, which would stand still for seconds."""
    world = World(monkeypatch)
    started = world.begin()
    assert [thread.name for thread in world.threads.started] == ["model-0"]
    assert (world.loader.loads, started) == (0, [])
    world.threads.step()
    assert (world.loader.loads, world.said) == (1, [])
    world.calls.drain()
    assert world.said == ["loading pets/7"]
    assert world.host.inference is None
    world.turn()
    assert started == [world.host.inference] != [None]


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_start_ends_with_a_model_that_is_warm(
    lanes: int, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Each lane has a thread, and each has run each size."""
    world = World(monkeypatch, lanes=lanes)
    world.start()
    assert [thread.name for thread in world.threads.running] == [
        f"model-{number}" for number in range(lanes)
    ]
    assert [lane.runs for lane in world.host.lanes] == [len(world.rows) // lanes] * lanes
    assert world.said[0] == "loading pets/7"
    assert world.said[1].startswith("warming up: 1 rows: ")
    inference = world.host.inference
    assert inference is not None
    assert (inference.model.full_name, inference.model.labels) == ("pets/7", LABELS)
    ready = f"pets/7 is ready on a fake device: {lanes} lanes, batches of up to 4 rows"
    assert log.lines()[-1] == f"{ready}, 0.5 s for an answer"


def test_a_started_model_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the lanes that were warmed."""
    world = World(monkeypatch)
    world.start()
    fired = outcomes(world.classify())
    world.turn()
    assert kinds(fired) == [Prediction]


@pytest.mark.parametrize("error", [ModelError("no such file"), ValueError("bad op")])
def test_a_load_that_fails_is_told_and_can_be_cleaned_up(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads end, and nothing is left to free."""
    world = World(monkeypatch)
    world.loader.error = error
    started = world.begin()
    world.turn()
    assert started == [error]
    stopped = world.stop()
    world.turn()
    assert stopped == [None]
    assert (world.threads.running, world.runner.closed) == ([], 0)
    assert not world.decoders.alive()


def test_a_warm_up_that_fails_is_told_and_frees_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model was there already."""
    world = World(monkeypatch, lanes=2)
    world.runner.errors.append(OutOfMemory(1))
    started = world.begin()
    world.turn()
    assert kinds(started) == [ModelError]
    assert str(started[0]) == "a run of 1 rows failed: a run of 1 rows did not fit into memory"
    assert world.host.inference is None
    stopped = world.stop()
    world.turn()
    assert (stopped, world.threads.running, world.runner.closed) == ([None], [], 1)


# --- stop


def test_a_stop_answers_what_was_accepted_before_anything_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the threads end, then the pool, and last the device is freed."""
    world = World(monkeypatch, lanes=2)
    world.start()
    accepted = [world.submit() for _ in range(12)]
    stopped = world.stop()
    assert kinds(world.submit()) == [ShuttingDown]
    assert len(world.threads.running) == 2
    assert world.runner.closed == 0
    while not stopped:
        ended = not world.threads.running
        assert world.decoders.alive() or ended
        assert world.runner.closed == 0 or not world.decoders.alive()
        world.threads.step()
        world.calls.drain()
    assert stopped == [None]
    assert kinds([fired[0] for fired in accepted]) == [tuple] * 12
    assert (world.threads.running, world.runner.closed) == ([], 1)
    assert world.runs_after_close == 0
    assert not world.decoders.alive()
    assert kinds(outcomes(world.classify())) == [PoolNotRunning]


def test_a_host_that_was_not_started_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no more to be started."""
    world = World(monkeypatch)
    assert world.stop() == [None]
    assert kinds(world.begin()) == [RuntimeError]
    assert world.threads.started == []


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_stop_during_the_start_leaves_nothing_running(
    steps: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it loads or warms up: every thread ends, and only then the device is freed."""
    world = World(monkeypatch, lanes=lanes)
    started = world.begin()
    for _ in range(steps):
        world.threads.step()
        world.calls.drain()
    assert started == ([] if steps < 4 else [world.host.inference])
    stopped = world.stop()
    world.turn()
    assert stopped == [None]
    assert kinds(started) == ([CancelledError] if steps < 4 else [Inference])
    assert world.threads.running == []
    assert world.runner.closed == 1
    assert world.runs_after_close == 0
    assert not world.decoders.alive()


def test_a_stop_during_a_load_that_fails_is_still_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is of no use any more."""
    world = World(monkeypatch)
    world.loader.error = ModelError("no such file")
    started = world.begin()
    stopped = world.stop()
    world.turn()
    assert stopped == [None]
    assert kinds(started) == [CancelledError]


def test_an_abort_fails_what_waits_and_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once; the thread that runs is left to itself."""
    world = World(monkeypatch)
    world.host.abort()  # without a model there is nothing to give up
    world.start()
    running, waiting = world.submit(), world.submit()
    stopped = world.stop()
    world.host.abort()
    assert kinds(running) == kinds(waiting) == [ShuttingDown]
    assert stopped == []
    world.turn()
    assert stopped == [None]


def test_a_run_that_fails_costs_its_own_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane goes on."""
    world = World(monkeypatch)
    world.start()
    world.runner.errors.append(ValueError("bad op"))
    first, second = world.submit(), world.submit()
    world.turn()
    assert kinds(first) == [RunFailed]
    assert kinds(second) == [tuple]


@pytest.mark.parametrize(
    ("settings", "seconds", "ended"),
    [
        (Settings(), 29.0, []),
        (Settings(), 30.0, [RunHung]),
        (Settings(run_timeout=4.0), 4.0, [RunHung]),
        (Settings(run_timeout=inf), 2.0**40, []),
    ],
)
def test_a_run_is_given_up_after_the_time_that_was_set(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, seconds: float, ended: list[type]
) -> None:
    """Half a minute unless told, and never where that is none."""
    world = World(monkeypatch, settings)
    world.start()
    answer = world.submit()
    world.clock.advance(seconds)
    assert kinds(answer) == ended
    assert world.host.hung == bool(ended)


def test_a_run_that_was_given_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a model nothing hangs."""
    world = World(monkeypatch)
    assert not world.host.hung
    world.start()
    assert not world.host.hung
    monkeypatch.setattr("batcher.batcher.Batcher.hung", True)
    assert world.host.hung
