"""The model host: start, use and stop: server/model_host.py."""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from twisted.internet.defer import CancelledError, ensureDeferred

from batcher.errors import OutOfMemory, RunFailed, RunHung, ShuttingDown
from model.errors import ModelError
from model.execution.decode_pool import PoolNotRunning
from model.signature import Feed, TensorSpec
from server.call import Outputs
from server.inference import Inference
from server.settings.table import Settings
from tests.fakes.model import FakeRunner
from tests.fakes.model_host import ModelHostHarness
from tests.fakes.server import LABELS, SIGNATURE, SIZE, FakeLoader, Log
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store run times in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


# --- start


def test_a_new_host_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread and no model: the process may still fork."""
    harness = ModelHostHarness(monkeypatch)
    assert harness.threads.started == []
    assert harness.decoders.threads == []
    assert harness.loader.loads == 0


def test_a_model_is_loaded_on_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the reactor thread or on a lane, it would delay requests for seconds."""
    harness = ModelHostHarness(monkeypatch)
    started = harness.begin()
    assert [thread.name for thread in harness.threads.started] == ["loading"]
    assert (harness.loader.loads, started) == (0, [])
    harness.threads.step()
    assert (harness.loader.loads, harness.lines) == (1, [])
    harness.calls.drain()
    assert harness.lines == ["loading pets/7"]
    assert harness.host.inference is None
    harness.turn()
    assert started == [harness.host.inference] != [None]


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_start_ends_with_a_model_that_is_warm(
    lanes: int, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Each lane has a thread and has run each size."""
    harness = ModelHostHarness(monkeypatch, lanes=lanes)
    harness.start()
    assert [thread.name for thread in harness.threads.running] == [
        f"model-{number}" for number in range(lanes)
    ]
    assert all(lane.runs for lane in harness.lanes.lanes)
    assert harness.lines[0] == "loading pets/7"
    assert harness.lines[1].startswith("warming up: 1 rows: ")
    inference = harness.host.inference
    assert inference is not None
    assert (inference.model.full_name, inference.model.labels) == ("pets/7", LABELS)
    ready = f"pets/7 is ready on a fake device: {lanes} lanes, batches of up to 4 rows"
    assert log.lines()[-1] == f"{ready}, 0.5 s for an answer"


def test_a_started_model_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the lanes of the warm-up."""
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    fired = outcomes(harness.classify())
    harness.turn()
    assert kinds(fired) == [list]


@pytest.mark.parametrize("error", [ModelError("no such file"), ValueError("bad op")])
def test_a_failed_load_is_raised_and_can_be_stopped(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads end, and there is no model to close."""
    harness = ModelHostHarness(monkeypatch)
    harness.loader.error = error
    started = harness.begin()
    harness.turn()
    assert started == [error]
    stopped = harness.stop()
    harness.turn()
    assert stopped == [None]
    assert (harness.threads.running, harness.runner.closed) == ([], 0)
    assert not harness.decoders.alive()


def test_a_failed_warm_up_is_raised_and_a_stop_frees_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model was loaded before."""
    harness = ModelHostHarness(monkeypatch, lanes=2)
    harness.runner.errors.append(OutOfMemory(1))
    started = harness.begin()
    harness.turn()
    assert kinds(started) == [ModelError]
    assert str(started[0]) == "a run of 1 rows failed: a run of 1 rows did not fit into memory"
    assert harness.host.inference is None
    stopped = harness.stop()
    harness.turn()
    assert (stopped, harness.threads.running, harness.runner.closed) == ([None], [], 1)


# --- two models on one device


#: A signature of the name of `SIGNATURE`, and with rows of its shape, but of another dtype.
FLOATS = replace(
    SIGNATURE, inputs=(TensorSpec("image", np.dtype(np.float32), SIGNATURE.inputs[0].shape),)
)


def test_two_models_share_the_lanes_but_never_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although their signatures have equal names and shapes: each row is run by its own model."""
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    other = FakeRunner(FLOATS, spend=harness.spend)
    second = harness.add_host(FakeLoader(other))
    started = outcomes(ensureDeferred(second.start()))
    harness.turn()
    assert kinds(started) == [Inference]
    assert [thread.name for thread in harness.threads.running] == ["model-0"]
    harness.runner.fed.clear()
    other.fed.clear()
    pixels = np.full((1, SIZE, SIZE, 3), 2, np.uint8)
    halves = np.full((1, SIZE, SIZE, 3), 0.5, np.float32)
    answers = []
    for _ in range(3):
        for host, signature, array in (
            (harness.host, SIGNATURE, pixels),
            (second, FLOATS, halves),
        ):
            assert host.inference is not None
            answers.append(outcomes(host.inference.submit(Feed(signature, (array,)))))
    harness.turn()
    sums = [[float(fired.arrays[0][0, 0]) for fired in each] for each in answers]  # type: ignore[attr-defined]  # Outputs
    assert sums == [[96.0], [24.0]] * 3
    fed = [[array.dtype for (array,) in runner.fed] for runner in (harness.runner, other)]
    assert set(fed[0]) == {np.dtype(np.uint8)}
    assert set(fed[1]) == {np.dtype(np.float32)}


def test_one_model_can_be_closed_while_the_other_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its waiting requests are answered first, and further ones are refused."""
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    other = FakeRunner(FLOATS, spend=harness.spend)
    second = harness.add_host(FakeLoader(other))
    ensureDeferred(second.start())
    harness.turn()
    assert second.inference is not None
    feed = Feed(FLOATS, (np.zeros((1, SIZE, SIZE, 3), np.float32),))
    waiting = [outcomes(second.inference.submit(feed)) for _ in range(3)]
    closing = outcomes(ensureDeferred(second.stop()))
    assert closing == []
    assert kinds(outcomes(second.inference.submit(feed))) == [ShuttingDown]
    harness.turn()
    assert [kinds(fired) for fired in waiting] == [[Outputs]] * 3
    assert closing == [None]
    second.close()
    assert (other.closed, harness.runner.closed) == (1, 0)
    fired = outcomes(harness.classify())
    harness.turn()
    assert kinds(fired) == [list]


def test_a_model_that_is_closed_in_its_warm_up_runs_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its stop waits for the run that is under way; the other model is served."""
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    other = FakeRunner(FLOATS, spend=harness.spend)
    second = harness.add_host(FakeLoader(other))
    started = outcomes(ensureDeferred(second.start()))
    harness.threads.step()
    harness.calls.drain()
    stopped = outcomes(ensureDeferred(second.stop()))
    assert stopped == []
    assert kinds(started) == [CancelledError]
    harness.turn()
    assert stopped == [None]
    second.close()
    ran = len(other.fed)
    fired = outcomes(harness.classify())
    harness.turn()
    assert kinds(fired) == [list]
    assert len(other.fed) == ran


# --- stop


def test_a_stop_answers_the_accepted_requests_before_threads_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model threads end next, then the pool, and last the device is freed."""
    harness = ModelHostHarness(monkeypatch, lanes=2)
    harness.start()
    accepted = [harness.submit() for _ in range(12)]
    stopped = harness.stop()
    assert kinds(harness.submit()) == [ShuttingDown]
    assert len(harness.threads.running) == 2
    assert harness.runner.closed == 0
    while not stopped:
        ended = not harness.threads.running
        assert harness.decoders.alive() or ended
        assert harness.runner.closed == 0 or not harness.decoders.alive()
        harness.threads.step()
        harness.calls.drain()
    assert stopped == [None]
    assert kinds([fired[0] for fired in accepted]) == [tuple] * 12
    assert (harness.threads.running, harness.runner.closed) == ([], 1)
    assert harness.runs_after_close == 0
    assert not harness.decoders.alive()
    assert kinds(outcomes(harness.classify())) == [PoolNotRunning]


def test_a_host_that_was_not_started_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """And cannot be started afterwards."""
    harness = ModelHostHarness(monkeypatch)
    assert harness.stop() == [None]
    assert kinds(outcomes(ensureDeferred(harness.host.start()))) == [CancelledError]
    assert harness.threads.started == []


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 8, 1000])
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_stop_during_the_start_leaves_nothing_running(
    steps: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the load or the warm-up: every thread ends, and then the device is freed."""
    harness = ModelHostHarness(monkeypatch, lanes=lanes)
    started = harness.begin()
    for _ in range(steps):
        harness.threads.step()
        harness.calls.drain()
    assert started == ([] if steps < 1000 else [harness.host.inference])
    stopped = harness.stop()
    harness.turn()
    assert stopped == [None]
    assert kinds(started) == ([CancelledError] if steps < 1000 else [Inference])
    assert harness.threads.running == []
    assert harness.runner.closed == 1
    assert harness.runs_after_close == 0
    assert not harness.decoders.alive()


def test_a_stop_during_a_load_that_fails_cancels_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the load is dropped."""
    harness = ModelHostHarness(monkeypatch)
    harness.loader.error = ModelError("no such file")
    started = harness.begin()
    stopped = harness.stop()
    harness.turn()
    assert stopped == [None]
    assert kinds(started) == [CancelledError]


def test_an_abort_fails_the_requests_that_wait_or_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, without waiting for the thread of the run."""
    harness = ModelHostHarness(monkeypatch)
    harness.lanes.abort()  # without a model it has no effect
    harness.start()
    running, waiting = harness.submit(), harness.submit()
    stopped = harness.stop()
    harness.lanes.abort()
    assert kinds(running) == kinds(waiting) == [ShuttingDown]
    assert stopped == []
    harness.turn()
    assert stopped == [None]


def test_a_failed_run_fails_only_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane continues."""
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    harness.runner.errors.append(ValueError("bad op"))
    first, second = harness.submit(), harness.submit()
    harness.turn()
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
def test_a_run_fails_its_requests_after_the_run_timeout(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, seconds: float, ended: list[type]
) -> None:
    """After 30 s by default, and never with none."""
    harness = ModelHostHarness(monkeypatch, settings)
    harness.start()
    answer = harness.submit()
    harness.clock.advance(seconds)
    assert kinds(answer) == ended
    assert bool(harness.lanes.hung) == bool(ended)


def test_a_hung_run_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a model no run hangs."""
    harness = ModelHostHarness(monkeypatch)
    assert not harness.lanes.hung
    harness.start()
    assert not harness.lanes.hung
    monkeypatch.setattr("batcher.batcher.Batcher.hung", ["a/1"])
    assert harness.lanes.hung
