"""Requests through decoding, queue, run and labels: server/inference.py."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from batcher.errors import DeadlineExceeded, RunFailed, ShuttingDown
from model.errors import ModelError
from model.execution.decode_pool import DecodePool, PoolNotRunning
from model.images.errors import NotAnImage
from model.signature import STRING, Feed, FeedError
from server.call import Call, Outputs, RequestOptions, Timing
from server.inference import MAX_BATCHES_IN_TURN, Inference, TooManyStringBytes
from tests.fakes.endpoint import MIXED, tensors
from tests.fakes.inference import InferenceFixture, feed, same, tensor_call
from tests.fakes.server import ManualLane, classify
from tests.fakes.threads import Calls, ManualThreads, kinds, outcomes
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")


pytestmark = pytest.mark.usefixtures("log")


def classes(fired: list[object]) -> list[tuple[str, float]]:
    """Return the labels and scores of the only result."""
    (labels,) = fired
    assert isinstance(labels, list)
    return [(label, float(score)) for label, score in labels]


@pytest.mark.parametrize(
    ("k", "labels"), [(1, ["cat"]), (2, ["cat", "dog"]), (3, ["cat", "dog", "eel"])]
)
def test_equal_scores_keep_the_order_of_the_labels(k: int, labels: list[str]) -> None:
    """So equal requests have equal answers."""
    fixture = InferenceFixture()
    fired = outcomes(classify(fixture.inference, IMAGE, k))
    fixture.decode()
    fixture.lane.finish([0.5, 0.5, 0.5])
    assert [label for label, _ in classes(fired)] == labels


def test_the_times_of_an_image_are_recorded_stage_by_stage() -> None:
    """In seconds, each at the end of its stage."""
    fixture = InferenceFixture()
    timing = Timing()
    classify(fixture.inference, IMAGE, 1).addErrback(lambda _: None)
    second = outcomes(classify(fixture.inference, IMAGE, 1, timing=timing))
    assert (timing.decode, timing.trace.queued) == (None, None)
    fixture.decode()
    fixture.decode()
    assert (timing.decode, timing.trace.queued) == (2.0, None)
    fixture.clock.advance(4)
    fixture.lane.finish([1.0, 0.0, 0.0])
    assert timing.trace.queued == 4.0
    fixture.clock.advance(8)
    fixture.lane.finish([1.0, 0.0, 0.0])
    (run,) = timing.trace.runs
    assert (run.rows, run.cap, run.reason, run.seconds) == (1, 4, "fixed", 8.0)
    assert len(second) == 1


def test_a_request_ends_at_its_deadline_even_if_no_decode_thread_is_free() -> None:
    """It is not decoded any more; one without a deadline waits, and is."""
    fixture = InferenceFixture()
    late, waiting = (
        outcomes(classify(fixture.inference, b"no image", 1, options))
        for options in (RequestOptions(timeout=4.0), RequestOptions())
    )
    fixture.clock.advance(3)
    assert (late, waiting) == ([], [])
    fixture.clock.advance(2)
    (error,) = late
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (1.0, "queue")
    fixture.decode()
    assert kinds(waiting) == [NotAnImage]
    assert fixture.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("timeout", "kind"), [(4.0, DeadlineExceeded), (None, NotAnImage)])
def test_a_request_ends_at_its_deadline_while_it_is_decoded(
    timeout: float | None, kind: type[Exception]
) -> None:
    """The result is dropped; the default timeout does not limit the time of a decoding."""
    fixture = InferenceFixture(default_timeout=4.0)
    fired = outcomes(classify(fixture.inference, b"no image", 1, RequestOptions(timeout=timeout)))
    fixture.threads.step()  # it is decoded, and its result is not delivered yet
    fixture.clock.advance(5)
    assert kinds(fired) == ([kind] if timeout else [])
    fixture.calls.step()
    assert kinds(fired) == [kind]
    assert fixture.clock.getDelayedCalls() == []


def _stop_pool(fixture: InferenceFixture) -> None:
    fixture.pool.stop()


def _drain(fixture: InferenceFixture) -> None:
    fixture.inference.model.batcher.drain()


@pytest.mark.parametrize(("end", "kind"), [(_stop_pool, PoolNotRunning), (_drain, ShuttingDown)])
def test_no_images_are_accepted_during_a_stop(
    end: Callable[[InferenceFixture], None], kind: type[Exception]
) -> None:
    """Neither by the pool nor by the batcher."""
    fixture = InferenceFixture()
    end(fixture)
    fired = outcomes(classify(fixture.inference, IMAGE, 1))
    if fixture.threads.queue:
        fixture.decode()
    assert kinds(fired) == [kind]


# --- tensors


@pytest.mark.parametrize(
    ("error", "timeout", "kind"),
    [
        (FeedError("no"), 8.0, FeedError),
        (ZeroDivisionError(), 8.0, ZeroDivisionError),
        (FeedError("no"), 7.0, DeadlineExceeded),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_error_is_the_same_on_each_thread(
    at_once: bool, error: Exception, timeout: float, kind: type[Exception]
) -> None:
    """A call is not prepared after its deadline; the decoding time is recorded all the same."""
    fixture = InferenceFixture()
    timing = Timing()
    prepared: list[None] = []

    def fail() -> Feed:
        prepared.append(None)
        raise error

    fixture.clock.advance(8)
    call = Call(fail, same, RequestOptions(timeout=timeout), at_once=at_once)
    fired = outcomes(fixture.inference.run(call, timing))
    if not at_once:
        fixture.decode()
    assert kinds(fired) == [kind]
    assert len(prepared) == (timeout == 8.0)
    assert timing.decode is not None
    assert fixture.lane.batches == []


def test_images_and_tensors_of_one_shape_share_a_batch() -> None:
    """And each gets its own kind of answer."""
    fixture = InferenceFixture()
    classify(fixture.inference, IMAGE, 1).addErrback(lambda _: None)
    labelled = outcomes(classify(fixture.inference, IMAGE, 1))
    plain = outcomes(fixture.inference.run(tensor_call(7)))
    for _ in range(3):
        fixture.decode()
    fixture.lane.finish([1.0, 0.0, 0.0])
    assert len(fixture.lane.batches[1]) == 2
    fixture.lane.finish([0.0, 1.0, 0.0], [0.25, 0.5, 0.125])
    assert classes(labelled) == [("dog", 1.0)]
    (result,) = plain
    assert isinstance(result, Outputs)
    assert result.arrays[0].tolist() == [[0.25, 0.5, 0.125]]


def test_a_model_without_images_labels_no_images() -> None:
    """The dialect checks that before it calls."""
    fixture = InferenceFixture()
    fixture.inference.model = replace(fixture.inference.model, image_input=None)
    fired = outcomes(classify(fixture.inference, IMAGE, 1))
    fixture.decode()
    (error,) = fired
    assert isinstance(error, ModelError)
    assert str(error) == "pets/7 takes no images"


# --- cancelling


def test_an_image_cancelled_in_the_queue_is_never_run() -> None:
    """Its place in the queue is free at once."""
    fixture = InferenceFixture(max_queued_rows=1)
    first, second = (classify(fixture.inference, IMAGE, 1) for _ in range(2))
    others = [outcomes(first)]
    fired = outcomes(second)
    fixture.decode()
    fixture.decode()
    second.cancel()
    assert kinds(fired) == [CancelledError]
    assert fixture.inference.model.batcher.stats().waiting == 0
    others.append(outcomes(classify(fixture.inference, IMAGE, 1)))
    fixture.decode()
    fixture.lane.finish([1.0, 0.0, 0.0])
    fixture.lane.finish([1.0, 0.0, 0.0])
    assert [classes(each)[0][0] for each in others] == ["cat", "cat"]
    assert [len(batch) for batch in fixture.lane.batches] == [1, 1]


def test_a_retired_inference_waits_for_all_its_calls() -> None:
    """Those that are decoded, run, or were cancelled; every Deferred fires once."""
    fixture = InferenceFixture()
    inference = fixture.inference
    decoded, waiting = (outcomes(classify(inference, IMAGE, 1)) for _ in range(2))
    cancelled = classify(inference, IMAGE, 1).addErrback(lambda _: None)
    fixture.decode()
    retired = [outcomes(inference.retire()) for _ in range(2)]
    assert (inference.retired, retired) == (True, [[], []])
    cancelled.cancel()
    fixture.lane.finish([1.0, 0.0, 0.0])
    assert (kinds(decoded), retired) == ([list], [[], []])
    fixture.decode()
    assert retired == [[], []]
    fixture.lane.finish([1.0, 0.0, 0.0])
    assert (kinds(waiting), retired) == ([list], [[None], [None]])
    assert outcomes(inference.retire()) == [None]


def strings_call(length: int) -> Call[Outputs]:
    """Return a call with two strings, which have *length* bytes together."""

    def prepare() -> Feed:
        strings = np.array([b"", bytes(length)], STRING)
        return MIXED.feed({"a": np.array(7, np.int32), "b": strings})

    return Call(prepare, same, at_once=True)


def test_the_strings_of_all_requests_have_a_limit_in_bytes() -> None:
    """A compressed body may hold long strings; what has ended counts no longer."""
    clock, lane = Clock(), ManualLane()
    pool = DecodePool(Calls(), 1, pool=ManualThreads())
    inference = Inference(tensors(clock, lane, max_queue_bytes=128), pool, clock=clock)
    first, second, third = (outcomes(inference.run(strings_call(it))) for it in (100, 28, 1))
    assert (kinds(first), kinds(second), kinds(third)) == ([], [], [TooManyStringBytes])
    assert "1 bytes; 128 bytes of strings are waiting or running, and the limit is 128" in str(
        third[0]
    )
    lane.fail(ValueError("bad"))
    assert kinds(first) == [RunFailed]
    again = inference.run(strings_call(100))
    fired = outcomes(again)
    assert fired == []
    again.cancel()
    assert kinds(outcomes(inference.run(strings_call(100)))) == []


def test_a_request_of_many_batches_lets_later_ones_pass() -> None:
    """Its rows are launched with low priority: beside those of the others, not before them."""
    fixture = InferenceFixture(max_queued_rows=100)
    many = 4 * MAX_BATCHES_IN_TURN
    fits, large = (outcomes(fixture.inference.submit(feed(*range(it)))) for it in (many, many + 1))
    small = outcomes(fixture.inference.submit(feed(7)))
    while not small:
        assert not large
        feeds = fixture.lane.batches[-1]
        fixture.lane.give(*((np.zeros((it.rows, 3), np.float32),) for it in feeds))
    assert (kinds(fits), kinds(small), large) == ([Outputs], [Outputs], [])
