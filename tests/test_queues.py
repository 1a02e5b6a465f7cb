"""The queues of one model: model/execution/queues.py."""

from dataclasses import replace

import numpy as np
import pytest

from model.execution.queues import MAX_OTHER_QUEUES, Queues
from model.signature import STRING, Feed, Signature, TensorSpec, blank_feed
from tests.fakes.model import fake_queues

OUTPUT = TensorSpec("y", np.dtype(np.float32), (None, 1))
WORDS = Signature((TensorSpec("words", np.dtype(np.float32), (None, None)),), (OUTPUT,))
OTHER = Signature((TensorSpec("words", np.dtype(np.float32), (None, None)),), (OUTPUT,), "other")
ALONE = Signature((TensorSpec("x", np.dtype(np.float32), (None,)),), (OUTPUT,), alone="why")
ANY = Signature(
    (TensorSpec("x", np.dtype(float), None), TensorSpec("n", np.dtype(float), (None,))), (OUTPUT,)
)
TEXTS = Signature((TensorSpec("x", STRING, (None, 2)),), (OUTPUT,))


def words(columns: int, rows: int = 1, signature: Signature = WORDS) -> Feed:
    """Return *rows* rows of *columns* words."""
    return Feed(signature, (np.zeros((rows, columns), np.float32),))


def learned(max_queue_bytes: int = 800) -> Queues:
    """Return queues that know rows of 10 words."""
    queues = fake_queues(max_queue_bytes)
    queues.learn(words(10), 4, {1: 1.0, 2: 1.5})
    return queues


def test_what_was_measured_holds_for_feeds_like_the_sample() -> None:
    """With any number of rows."""
    queue = learned().of(words(10, rows=3))
    assert queue.cap == 4
    assert queue.latency.predict(2) == pytest.approx(1.5)


def test_feeds_that_cannot_share_a_run_have_queues_of_their_own() -> None:
    """For another shape of the rows, or another signature; always the same queue."""
    queues = learned()
    queues.learn(words(10, signature=OTHER), 7, {})
    feeds = [words(10), words(11), words(10, signature=OTHER), words(11, signature=OTHER)]
    found = [queues.of(feed) for feed in feeds]
    assert len({id(queue) for queue in found}) == 4
    assert [queue.cap for queue in found] == [4, 4, 7, 7]
    assert [queues.of(feed) for feed in feeds] == found
    assert (queues.cap("serving_default"), queues.cap("other")) == (4, 7)


@pytest.mark.parametrize(
    ("feed", "name"),
    [
        (words(10), "serving_default [10]"),
        (words(3, rows=2, signature=OTHER), "other [3]"),
        (blank_feed(TEXTS), "serving_default"),
        (blank_feed(ALONE), "serving_default [1]"),
        (blank_feed(replace(ALONE, inputs=(TensorSpec("x", STRING, ()),))), "serving_default"),
        (Feed(ANY, (np.zeros((2, 4, 3)), np.zeros(2))), "serving_default [4, 3], []"),
    ],
)
def test_queues_are_named_by_signature_and_by_the_shapes_that_it_leaves_open(
    feed: Feed, name: str
) -> None:
    """The shape of one row; of a signature that runs alone, the whole shape."""
    queues = learned()
    queues.learn(feed, 4, {})
    assert queues.of(feed).name == name


def test_another_shape_has_the_cap_but_not_the_times() -> None:
    """It learns the times from its own runs."""
    queues = learned()
    other = queues.of(words(20))
    assert other.cap == 4
    other.latency.observe(1, 9.0)
    assert queues.of(words(20)).latency.predict(1) == 9.0
    assert queues.of(words(10)).latency.predict(1) == pytest.approx(1.0)


def test_a_cap_is_lowered_for_one_shape_only() -> None:
    """The largest batch of the signature at the start is kept."""
    queues = learned()
    queues.of(words(20)).cap = 1
    assert [queues.of(words(columns)).cap for columns in (10, 20, 30)] == [4, 1, 4]
    assert queues.cap("serving_default") == 4


@pytest.mark.parametrize(
    ("columns", "rows"),
    [(1, 200), (10, 20), (50, 4), (60, 4), (1000, 4), (0, 800)],
)
def test_rows_wait_up_to_the_bytes_but_never_fewer_than_a_batch(columns: int, rows: int) -> None:
    """An empty row counts as one byte."""
    assert learned().of(words(columns)).max_queued_rows == rows


def test_a_feed_that_runs_alone_is_one_row() -> None:
    """With all its bytes."""
    queues = fake_queues(800)
    queues.learn(blank_feed(ALONE), 1, {})
    assert queues.of(blank_feed(ALONE)).max_queued_rows == 200
    assert queues.of(Feed(ALONE, (np.zeros(50, np.float32),))).max_queued_rows == 4


def test_a_string_counts_as_a_reference() -> None:
    """Eight bytes; its content is counted when the request is read."""
    queues = fake_queues(800)
    queues.learn(blank_feed(TEXTS), 4, {})
    assert queues.of(Feed(TEXTS, (np.array([[b"x" * 99, b""]], STRING),))).max_queued_rows == 50


def test_what_was_measured_at_the_start_is_never_forgotten() -> None:
    """Whatever shapes clients send."""
    queues = learned()
    for columns in range(100, 100 + 2 * MAX_OTHER_QUEUES):
        queues.of(words(columns))
    assert queues.of(words(10)).latency.predict(2) == pytest.approx(1.5)


def test_the_least_recently_used_shapes_are_forgotten_first() -> None:
    """Used ones keep what their runs have shown, and their number is limited."""
    queues = learned()
    used, unused = queues.of(words(20)), queues.of(words(30))
    for columns in range(100, 99 + MAX_OTHER_QUEUES):
        queues.of(words(columns))
        assert queues.of(words(20)) is used
    assert queues.of(words(30)) is not unused
