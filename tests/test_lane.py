"""Lanes: rows copied in, one run, rows split out, all on the model thread."""

from collections.abc import Sequence

import numpy as np
import pytest
from twisted.internet.task import Clock

from batcher.batcher import Batcher
from batcher.errors import OutOfMemory, RunFailed
from batcher.executor import Executor, Piece
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from model.backend import LoadedModel
from model.errors import ModelError
from model.execution.lane import Lane
from model.execution.recorder import Recorder
from model.signature import Arrays, Feed, Signature, TensorSpec
from tests.fakes.executor import GreedyPolicy
from tests.fakes.model import IMAGES, FakeRunner, check_runner, images, loaded, started_thread
from tests.fakes.threads import kinds, outcomes

TWO_EACH = Signature(
    inputs=(
        TensorSpec("left", np.dtype(np.float32), (None, 2)),
        TensorSpec("right", np.dtype(np.int64), (None,)),
    ),
    outputs=(
        TensorSpec("sum", np.dtype(np.float64), (None,)),
        TensorSpec("scores", np.dtype(np.float32), (None, 3)),
    ),
)


def whole(model: LoadedModel, *values: int) -> Piece[Feed]:
    """Return a piece with all rows of images of *values* for *model*."""
    return Piece(images(*values, model=model), 0, len(values))


def scores(results: list[object]) -> list[list[float]]:
    """Return the first score of each row of each piece of a successful batch."""
    (batch,) = results
    assert isinstance(batch, list)
    return [output[:, 0].tolist() for (output,) in batch]


def test_a_batch_is_one_run_and_each_piece_gets_its_own_rows() -> None:
    """Whole feeds and parts of one, in the order given."""
    stepped, runner = started_thread(), FakeRunner()
    model = loaded(runner)
    lane: Executor[Feed, Arrays] = Lane(stepped.thread)
    many = images(5, 6, 7, model=model)
    fired = outcomes(lane.run([Piece(many, 1, 3), whole(model, 1), Piece(many, 0, 1)]))
    assert stepped.run_all() == 1
    assert [feed[0][:, 0, 0, 0].tolist() for feed in runner.fed] == [[6, 7, 1, 5]]
    assert scores(fired) == [[72.0, 84.0], [12.0], [60.0]]


def test_a_lane_measures_the_seconds_of_a_run_alone() -> None:
    """Without the waits for the model thread and for the reactor; a failed run counts, too."""
    clock = Clock()
    stepped = started_thread(seconds=clock.seconds)
    runner = FakeRunner(spend=lambda rows: clock.advance(4.0 + rows))
    model, lane = loaded(runner), Lane(stepped.thread)
    assert lane.seconds is None
    for error, rows in ((None, 1), (ValueError("bad"), 2)):
        if error is not None:
            runner.errors.append(error)
        fired = outcomes(lane.run([whole(model, *range(rows))]))
        clock.advance(1.0)
        stepped.step()
        clock.advance(1.0)
        stepped.calls.drain()
        assert len(fired) == 1
        assert lane.seconds == 4.0 + rows


def test_a_lane_counts_the_seconds_of_its_runs_and_of_the_run_under_way() -> None:
    """The time between runs does not count; the count never falls, whatever the clock does."""
    clock, counted = Clock(), []
    stepped = started_thread(seconds=clock.seconds)

    def spend(_: int) -> None:
        clock.advance(2.0)
        counted.append(lane.busy_seconds)
        clock.advance(2.0)

    lane = Lane(stepped.thread)
    model = loaded(FakeRunner(spend=spend))
    for _ in range(2):
        lane.run_now([whole(model, 1)])
        clock.advance(16.0)
        counted.append(lane.busy_seconds)
    assert counted == [2.0, 4.0, 6.0, 8.0]
    clock.advance(-50.0)
    assert lane.busy_seconds == 8.0


def test_nothing_happens_on_the_reactor_thread() -> None:
    """
    The copy and the run wait for a step of the model thread, the results for the reactor, which is
    woken once for each batch.
    """
    stepped, runner = started_thread(), FakeRunner()
    model, lane = loaded(runner), Lane(stepped.thread)
    fired = outcomes(lane.run([whole(model, 1), whole(model, 2), whole(model, 3)]))
    assert (lane.runs, runner.fed, fired) == (0, [], [])
    stepped.step()
    assert (lane.runs, len(runner.fed), fired) == (1, 1, [])
    stepped.calls.step()
    assert scores(fired) == [[12.0], [24.0], [36.0]]
    assert not stepped.queue.jobs


def test_every_input_is_staged_and_every_output_split() -> None:
    """In the order of the signature."""
    lane = Lane(started_thread().thread)
    left = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    both = Feed(TWO_EACH, (left, np.array([10, 20, 30])), loaded(FakeRunner(TWO_EACH)))
    first, second = lane.run_now([Piece(both, 0, 2), Piece(both, 2, 3)])
    assert [output.tolist() for output in first] == [[13, 27], [[13] * 3, [27] * 3]]
    assert [output.tolist() for output in second] == [[41], [[41] * 3]]


def test_outputs_do_not_change_with_later_batches() -> None:
    """The staging buffer is used again; the outputs are not views of it."""
    model, lane = loaded(FakeRunner()), Lane(started_thread().thread)
    ((early,),) = lane.run_now([whole(model, 1, 2)])
    lane.run_now([whole(model, 9, 9)])
    assert early[:, 0].tolist() == [12, 24]


def test_the_model_is_fed_aligned_memory_and_the_clients_arrays_are_left_alone() -> None:
    """Whatever the alignment of the feed."""
    fed: list[Feed] = []

    class Watching(FakeRunner):
        def run(self, feed: Feed) -> Arrays:
            fed.append(feed)
            return super().run(feed)

    odd = np.zeros(25, np.uint8)[1:].reshape(2, 2, 2, 3)
    odd.flags.writeable = False
    feed = Feed(IMAGES, (odd,), loaded(Watching()))
    Lane(started_thread().thread).run_now([Piece(feed, 0, 2)])
    ((staged,),) = (feed.arrays for feed in fed)
    assert staged.ctypes.data % 64 == 0
    assert not np.shares_memory(staged, odd)


@pytest.mark.parametrize(("shape", "got"), [((0, 3), 0), ((1, 3), 1), ((3, 3), 3), ((), 0)])
def test_another_number_of_rows_is_the_models_error(shape: tuple[int, ...], got: int) -> None:
    """The rows cannot be assigned to requests any more, so all requests fail; no axis is no row."""

    class Miscounting(FakeRunner):
        def run(self, feed: Feed) -> Arrays:
            return (np.zeros(shape, np.float32),)

    stepped = started_thread()
    fired = outcomes(Lane(stepped.thread).run([whole(loaded(Miscounting()), 1, 2)]))
    stepped.run_all()
    (error,) = fired
    assert isinstance(error, ModelError)
    assert str(error) == f"the model returned {got} rows for a batch of 2"


def test_a_request_without_a_row_gets_no_other_requests_row() -> None:
    """For a model that drops some rows, the batch is halved until their requests run alone."""

    class LeavingOut(FakeRunner):
        def run(self, feed: Feed) -> Arrays:
            ((output,), (rows,)) = (super().run(feed), feed.arrays)
            return (output[rows[:, 0, 0, 0] < 9],)

    stepped, clock, model = started_thread(), Clock(), loaded(LeavingOut())
    batcher = Batcher(clock, [Lane(stepped.thread)], GreedyPolicy(), join=max, observer=Recorder())
    queue: Queue[Feed, Arrays] = Queue(LatencyCurve({}), 8, 8)
    feeds = [images(value, model=model) for value in (1, 2, 9, 3)]
    fired = [outcomes(batcher.submit(feed, 1, queue)) for feed in feeds]
    stepped.run_all()
    assert [kinds(each) for each in fired] == [[tuple], [tuple], [RunFailed], [tuple]]
    assert [scores([each])[0] for each in (fired[0], fired[1], fired[3])] == [
        [12.0],
        [24.0],
        [36.0],
    ]


def test_failures_are_passed_on_and_counted_and_the_lane_continues() -> None:
    """Out of memory, an error of the engine, and then a successful run."""
    stepped, runner = started_thread(), FakeRunner(capacity=2)
    model, lane = loaded(runner), Lane(stepped.thread)
    runner.errors = [ValueError("the engine's own")]
    fired = [
        outcomes(lane.run([whole(model, 1)])),
        outcomes(lane.run([whole(model, 1, 2), whole(model, 3)])),
        outcomes(lane.run([whole(model, 2)])),
    ]
    stepped.run_all()
    assert [kinds(each) for each in fired] == [[ValueError], [OutOfMemory], [list]]
    assert scores(fired[2]) == [[24.0]]
    assert (lane.runs, lane.rows) == (3, 5)


@pytest.mark.parametrize("signature", [IMAGES, TWO_EACH], ids=["one input", "two inputs"])
def test_the_fake_runner_keeps_the_contract_of_runners(signature: Signature) -> None:
    """The same contract as for a real Session."""
    generator = np.random.default_rng(1)
    arrays = tuple(
        generator.integers(0, 9, (5, *(size or 1 for size in spec.row_shape))).astype(spec.dtype)
        for spec in signature.inputs
    )
    check_runner(FakeRunner(signature), Feed(signature, arrays))


def numbers(dtype: type[np.generic], values: Sequence[float], model: LoadedModel) -> Feed:
    """Return a feed of *model* with a row for each of *values*, of a signature with that dtype."""
    return Feed(model.signatures[0], (np.array(values, dtype).reshape(-1, 1),), model)


def test_two_models_with_equal_signature_names_share_a_lane_but_no_buffer() -> None:
    """
    Versions may differ in the dtype of an input only; a shared buffer would change the numbers.
    """

    def doubling(dtype: type[np.generic]) -> LoadedModel:
        spec = TensorSpec("x", np.dtype(dtype), (None, 1))
        return loaded(FakeRunner(Signature((spec,), (TensorSpec("y", np.dtype(float), (None,)),))))

    floats, bytes_ = doubling(np.float32), doubling(np.uint8)
    lane = Lane(started_thread().thread)
    for _ in range(2):
        results = [
            lane.run_now([Piece(numbers(np.uint8, [7, 200], bytes_), 0, 2)]),
            lane.run_now([Piece(numbers(np.float32, [0.5, -1.25], floats), 0, 2)]),
        ]
        assert [output.tolist() for ((output,),) in results] == [[7.0, 200.0], [0.5, -1.25]]
    staged = [feed[0].dtype for runner in (bytes_.runner, floats.runner) for feed in runner.fed]  # type: ignore[attr-defined]  # both are fakes
    assert staged == [np.uint8, np.uint8, np.float32, np.float32]


def test_a_feed_that_names_no_model_is_an_error() -> None:
    """Only queues name the model; a feed that skipped them would run on any model."""
    with pytest.raises(ModelError, match="names no model"):
        Lane(started_thread().thread).run_now([Piece(images(1), 0, 1)])
