"""Sessions that TensorFlow runs: one run a batch, several lanes, little memory, the device."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Barrier
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from batcher.errors import OutOfMemory
from batcher.executor import Piece
from model.backend import Device, DeviceChoice
from model.backends.tensorflow.device import choose_device, gpu_is_installed
from model.backends.tensorflow.session import SessionOptions, SessionRunner, session_config
from model.errors import ModelError, RowsRefused
from model.execution.lane import Lane
from model.execution.thread import ModelThread
from model.signature import Arrays, Feed, TensorSpec
from tests.fakes.model import check_runner
from tests.fakes.model import loaded as loaded_by
from tests.fakes.threads import Calls, outcomes
from tests.integration.graphs import CPU, SCORES, Graphs, image_input, noise

pytestmark = pytest.mark.full

if TYPE_CHECKING:
    from model.backend import Runner


@pytest.fixture
def graphs(tmp_path: Path) -> Iterator[Graphs]:
    """Graphs that are closed after the test."""
    with closing(Graphs(tmp_path)) as graphs:
        yield graphs


# --- runs


def test_a_session_keeps_the_contract_of_runners(graphs: Graphs) -> None:
    """The same contract as that of the fake."""
    loaded = graphs.load(graphs.write(image_input("uint8")))
    runner: Runner = loaded.runner
    (signature,) = runner.signatures
    assert signature.inputs == (TensorSpec("input", np.dtype(np.uint8), (None, 4, 5, 3)),)
    assert signature.outputs == (TensorSpec(SCORES, np.dtype(np.float32), (None, 3)),)
    assert runner.device == "CPU"
    check_runner(runner, loaded.feed(noise(5)))


def test_what_was_answered_outlives_the_staging_buffer(graphs: Graphs) -> None:
    """Also where the graph outputs its feed: no request gets another one's pixels."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.uint8, (None, 64, 64, 3), name="input")
        tf.reshape(images, (-1, 64 * 64 * 3), name=SCORES)

    loaded = graphs.load(graphs.write(build), classes=64 * 64 * 3)
    lane = Lane(idle_thread(Calls()))
    first, second = noise(4, 64, 64), noise(4, 64, 64)[::-1].copy()
    ((answer,),) = lane.run_now([Piece(loaded.feed(first), 0, 4)])
    lane.run_now([Piece(loaded.feed(second), 0, 4)])
    np.testing.assert_array_equal(answer, first.reshape(4, -1))


def idle_thread(calls: Calls) -> ModelThread:
    """Return a model thread that is not started."""
    return ModelThread("model", SimpleQueue(), call_from_thread=calls, seconds=lambda: 0.0)


def test_a_batch_is_one_run_of_the_session(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it holds."""
    loaded = graphs.load(graphs.write(image_input("uint8")))
    session_runs: list[int] = []
    name = loaded.signature.name
    run = loaded.runner._callables[name]

    def counting(*arrays: np.ndarray) -> list[np.ndarray]:
        session_runs.append(len(arrays[0]))
        return run(*arrays)

    monkeypatch.setitem(loaded.runner._callables, name, counting)
    pixels = noise(9)
    feed = loaded.feed(pixels)
    pieces = [Piece(feed, start, start + rows) for start, rows in ((0, 4), (4, 1), (5, 4))]
    results = Lane(idle_thread(Calls())).run_now(pieces)
    assert session_runs == [9]
    np.testing.assert_allclose(
        np.concatenate([scores for (scores,) in results]), pixels.mean(axis=(1, 2)), rtol=1e-5
    )


class Together:
    """Runs of one runner on two lanes, which begin at the same time or not at all."""

    def __init__(self, runner: SessionRunner) -> None:
        self.signatures, self.fingerprint = runner.signatures, runner.fingerprint
        self.device, self.close = runner.device, runner.close
        self._runner = runner
        self._both = Barrier(2, timeout=60)

    def run(self, feed: Feed) -> Arrays:
        """Run at the same time as the other lane."""
        self._both.wait()
        return self._runner.run(feed)


def test_two_lanes_run_at_once_and_each_gets_its_own_rows(graphs: Graphs) -> None:
    """On two threads, through one Session, many times."""
    options = replace(CPU, lanes=2)
    loaded = graphs.load(graphs.write(image_input("uint8")), options)
    model = loaded_by(Together(loaded.runner))
    calls = Calls()
    threads = [idle_thread(calls) for _ in range(2)]
    lanes = [Lane(thread) for thread in threads]
    images = [noise(40)[lane::2] for lane in range(2)]
    feeds = [Feed(loaded.signature, (each,), model) for each in images]
    for thread in threads:
        thread.start()
    fired = [
        (
            lane,
            rows,
            outcomes(lanes[lane].run([Piece(feeds[lane], rows.start, rows.stop)])),
        )
        for rows in (slice(0, 8), slice(8, 9), slice(9, 20), slice(3, 17), slice(0, 20))
        for lane in range(2)
    ]
    ended = [outcomes(thread.stop()) for thread in threads]
    for _ in range(len(fired) + len(ended)):
        calls.step()
    assert ended == [[None], [None]]
    for lane, rows, ((batch),) in fired:
        assert isinstance(batch, list), batch
        ((scores,),) = batch
        expected = images[lane][rows].mean(axis=(1, 2))
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def out_of_memory(*_: np.ndarray) -> None:
    """Raise TensorFlow's error for a device without enough memory."""
    import tensorflow as tf

    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_a_run_without_enough_memory_is_out_of_memory(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds the rows, and the Session still runs batches."""
    loaded = graphs.load(graphs.write(image_input("uint8")))
    with monkeypatch.context() as context:
        context.setitem(loaded.runner._callables, loaded.signature.name, out_of_memory)
        with pytest.raises(OutOfMemory) as caught:
            loaded.run(noise(4))
    assert caught.value.rows == 4
    assert loaded.run(noise(4)).shape == (4, 3)


def test_a_model_without_memory_for_one_row_is_refused(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not at the first request."""
    import tensorflow.compat.v1 as tf

    monkeypatch.setattr(tf.Session, "make_callable", lambda *_: out_of_memory)
    path = graphs.write(image_input())
    assert graphs.refusal(path) == (
        f"{path}: a run of one row failed: a run of 1 rows did not fit into memory"
    )


def test_a_device_that_is_really_too_small_is_out_of_memory(graphs: Graphs) -> None:
    """TensorFlow waits 10 seconds for memory before it fails; the next run succeeds."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.uint8, (None, 4, 5, 3), name="input")
        rows = tf.shape(images, out_type=tf.int64)[0]
        # 16 KiB for one row, and for four of them a petabyte, which no machine has.
        numbers = tf.fill([tf.bitwise.left_shift(tf.constant(1, tf.int64), 12 * rows)], 0.5)
        scores = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])
        tf.add(scores, tf.reduce_max(numbers), name=SCORES)

    loaded = graphs.load(graphs.write(build))
    with pytest.raises(OutOfMemory) as caught:
        loaded.run(noise(4))
    assert caught.value.rows == 4
    np.testing.assert_allclose(loaded.run(noise(1)), noise(1).mean(axis=(1, 2)) + 0.5, rtol=1e-5)


def test_an_error_of_the_graph_is_tensorflows_own(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its class is kept; its message is the first line."""
    import tensorflow.compat.v1 as tf

    def fail(*_: np.ndarray) -> None:
        raise tf.errors.InternalError(None, None, "Graph execution error:\n\nNode: 'x'\nit broke")

    loaded = graphs.load(graphs.write(image_input("uint8")))
    monkeypatch.setitem(loaded.runner._callables, loaded.signature.name, fail)
    with pytest.raises(tf.errors.InternalError, match=r"^it broke$"):
        loaded.run(noise(1))


def test_values_that_an_operation_calls_invalid_are_refused(graphs: Graphs) -> None:
    """The client can correct them; other requests are answered."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.uint8, (None, 4, 5, 3), name="input")
        numbers = tf.cast(tf.reshape(images, (-1, 60))[:, :3], tf.float32)
        tf.debugging.check_numerics(1.0 / (255.0 - numbers), "white", name=SCORES)

    loaded = graphs.load(graphs.write(build))
    with pytest.raises(RowsRefused, match=r"^white : Tensor had Inf"):
        loaded.run(np.full((2, 4, 5, 3), 255, np.uint8))
    assert loaded.run(np.zeros((1, 4, 5, 3), np.uint8)).shape == (1, 3)


def test_a_closed_session_runs_no_more(graphs: Graphs) -> None:
    """Closing it again has no effect."""
    loaded = graphs.load(graphs.write(image_input()))
    loaded.runner.close()
    with pytest.raises(RuntimeError, match="closed"):
        loaded.run(noise(1))


def test_the_fingerprint_names_all_that_decides_how_long_a_run_takes(graphs: Graphs) -> None:
    """Equal for equal inputs; different for another graph, option, device or number of lanes."""
    path = graphs.write(image_input())
    same = graphs.load(path).runner.fingerprint
    assert graphs.load(path).runner.fingerprint == same
    others = [
        graphs.load(path, scale=(1.0, 1.0, 1.0)),
        graphs.load(path, replace(CPU, lanes=2)),
        graphs.load(path, replace(CPU, device=Device("cpu", "CPU, 96 cores"))),
        graphs.load(graphs.write(image_input("uint8"))),
    ]
    assert len({same, *(loaded.runner.fingerprint for loaded in others)}) == 5


def test_the_first_session_has_the_thread_pools_of_the_served_one(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow creates the thread pools of a process with the settings of its first Session."""
    import tensorflow.compat.v1 as tf

    configs: list[object] = []
    session = tf.Session

    def noted(*args: object, config: object = None, **given: object) -> object:
        configs.append(config)
        return session(*args, config=config, **given)

    monkeypatch.setattr(tf, "Session", noted)
    options = replace(CPU, lanes=2)
    graphs.load(graphs.write(image_input(shape=(1, 4, 5, 3))), options)
    assert len(configs) > 2
    assert configs[0] == configs[-1] == session_config(options) != configs[1]


# --- the device


@pytest.mark.parametrize(
    ("cores", "lanes", "each"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (2, 16, 1)]
)
def test_lanes_share_the_cores_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, cores: int, lanes: int, each: int
) -> None:
    """One thread for each lane's operations; the cores are divided among the lanes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    config = session_config(replace(CPU, lanes=lanes))
    assert config.inter_op_parallelism_threads == lanes
    assert config.intra_op_parallelism_threads == each
    assert config.device_count == {"GPU": 0}
    assert config.allow_soft_placement


@pytest.mark.parametrize(
    ("limit", "limits"), [(None, []), (512 * 2**20, [[512.0]]), (3 * 2**19, [[1.5]])]
)
def test_the_memory_of_a_gpu_grows_up_to_its_limit(
    limit: int | None, limits: list[list[float]]
) -> None:
    """Other programs may use the device; TensorFlow chooses the threads on the CPU."""
    config = session_config(SessionOptions(Device("gpu", "GPU"), 1, gpu_memory_limit=limit))
    assert config.gpu_options.allow_growth
    virtual = config.gpu_options.experimental.virtual_devices
    assert [list(device.memory_limit_mb) for device in virtual] == limits
    assert config.intra_op_parallelism_threads == config.inter_op_parallelism_threads == 0
    assert config.allow_soft_placement


@pytest.mark.parametrize("choice", ["auto", "gpu"])
def test_tensorflow_itself_is_asked_for_gpus(choice: DeviceChoice) -> None:
    """On any machine the result is a device, or an error of one line with the reason."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        assert choose_device(choice).kind == "gpu"
    elif choice == "auto" and not gpu_is_installed():
        assert choose_device(choice).kind == "cpu"
    else:
        with pytest.raises(ModelError, match=r"sees no GPU: .*; --device cpu") as caught:
            choose_device(choice)
        assert len(str(caught.value).splitlines()) == 1
    assert isinstance(tf.test.is_built_with_cuda(), bool)
    assert isinstance(tf.sysconfig.get_build_info(), dict)
