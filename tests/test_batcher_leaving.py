"""How requests leave a batcher early: cancels, deadlines, drains and aborts."""

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError

from batcher.errors import DeadlineExceeded, ShuttingDown
from batcher.policy import Decision, FixedPolicy, LaneView, QueueView, WaitUntil
from batcher.stats import State
from batcher.trace import Trace
from tests.fakes.executor import Scene, no_unhandled_errors

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its owner."""
    with no_unhandled_errors():
        yield


def test_a_cancelled_request_that_was_not_launched_is_never_run() -> None:
    """Its place goes to others, and its owner hears of nothing but the cancel."""
    scene = Scene(limit=2)
    scene.submit("running")
    answer = scene.submit("a", deadline=8.0)
    scene.submit("b")
    answer.cancel()
    answer.cancel()
    scene.submit("c")
    scene.lane.current.finish()
    assert scene.riders == [["running"], ["b", "c"]]
    assert isinstance(scene.errors["a"], CancelledError)
    assert scene.ended.count("a") == 1
    scene.lane.current.finish()
    assert scene.clock.getDelayedCalls() == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_request_that_was_launched_is_run_and_dropped(fails: bool) -> None:
    """Its batch-mate is answered all the same, whether the run succeeds or fails."""
    scene = Scene()
    scene.submit("running")
    answer = scene.submit("a")
    scene.submit("b")
    scene.lane.current.finish()
    answer.cancel()
    if fails:
        scene.lane.current.fail(ValueError("whoever it was"))
    scene.lane.current.finish()
    assert scene.riders == [["running"], ["a", "b"], ["b"]][: 3 if fails else 2]
    assert scene.results.keys() == {"running", "b"}
    assert scene.ended == ["running", "a", "b"]


def test_a_lone_cancelled_run_may_fail_unheard() -> None:
    """Nobody is left to tell, and nothing is run again."""
    scene = Scene()
    scene.submit("a").cancel()
    scene.lane.current.fail(ValueError("too late to matter"))
    assert scene.batcher.stats().running == 0
    assert len(scene.lane.runs) == 1
    assert scene.ended == ["a"]


def test_cancelling_a_split_request_drops_its_other_parts() -> None:
    """Those in the queue are never run; the running part's result is dropped."""
    scene = Scene(cap=4)
    answer = scene.submit("a", 12)
    scene.submit("b")
    answer.cancel()
    assert scene.batcher.stats().waiting == 1
    scene.lane.current.finish()
    assert scene.lane.current.pieces == [("b", 0, 1)]


def test_a_callback_may_cancel_a_request_whose_result_is_at_hand() -> None:
    """The cancel wins, although the run of both has succeeded, and it is counted as such."""
    scene = Scene()
    scene.submit("running")
    first = scene.submit("a")
    second = scene.submit("b")
    first.addCallback(lambda _: second.cancel())
    scene.lane.current.finish()
    scene.lane.current.finish()
    assert scene.ended == ["running", "a", "b"]
    assert isinstance(scene.errors["b"], CancelledError)
    totals = scene.batcher.stats().totals
    assert (totals.answered, totals.cancelled) == (2, 1)


@pytest.mark.parametrize("deadline", [3.0, 4.0])
def test_a_deadline_that_has_come_is_refused_at_submit(deadline: float) -> None:
    """Even though a lane is idle: nothing can be run in no time."""
    scene = Scene()
    scene.clock.advance(4.0)
    scene.submit("a", deadline=deadline)
    error = scene.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (4.0 - deadline, "submit")
    assert scene.lane.runs == []


def test_a_request_expires_in_the_queue_on_time() -> None:
    """While the lane is busy, by the timer, and it is never run."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a", deadline=4.0)
    scene.clock.advance(4.0)
    error = scene.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (0.0, "queue")
    scene.lane.current.finish()
    assert scene.riders == [["running"]]
    assert scene.clock.getDelayedCalls() == []


def test_a_request_that_expired_unnoticed_is_not_launched() -> None:
    """A late timer does not save it: the deadline is looked at again at the launch."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a", deadline=4.0)
    scene.submit("b")
    scene.clock.rightNow = 6.0  # the reactor was busy: no timer has fired
    scene.lane.current.finish()
    assert scene.riders == [["running"], ["b"]]
    error = scene.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (2.0, "queue")


def test_an_answer_at_the_deadline_is_in_time_and_after_it_too_late() -> None:
    """The result of a late run is dropped for the late alone."""
    scene = Scene()
    scene.submit("running")
    for name, deadline in [("a", 4.0), ("b", 8.0), ("c", inf)]:
        scene.submit(name, deadline=deadline)
    scene.lane.current.finish()
    assert scene.riders[1] == ["a", "b", "c"]
    scene.clock.advance(8.0)
    scene.lane.current.finish()
    assert scene.results.keys() == {"running", "b", "c"}
    error = scene.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (4.0, "answer")


def test_whoever_is_late_is_told_in_the_order_of_the_batch() -> None:
    """Between those who rode before and behind."""
    scene = Scene()
    scene.submit("running")
    for name, deadline in [("a", inf), ("b", 4.0), ("c", 8.0), ("d", 2.0)]:
        scene.submit(name, deadline=deadline)
    scene.lane.current.finish()
    scene.clock.advance(6.0)
    scene.lane.current.finish()
    assert scene.ended == ["running", "a", "b", "c", "d"]
    assert list(scene.errors) == ["b", "d"]


def test_a_split_request_that_expires_drops_the_rest_of_its_rows() -> None:
    """In the queue, at its deadline; the part that runs changes nothing."""
    scene = Scene(cap=4)
    scene.submit("a", 8, deadline=4.0)
    scene.clock.advance(4.0)
    assert scene.ended == ["a"]
    scene.lane.current.finish()
    assert len(scene.lane.runs) == 1
    assert scene.batcher.stats().totals.expired == 8


def test_a_late_part_ends_a_split_request_at_once() -> None:
    """No further part of it is run, though the timer has not fired."""
    scene = Scene(cap=4)
    scene.submit("a", 8, deadline=4.0)
    scene.clock.rightNow = 6.0
    scene.lane.current.finish()
    assert len(scene.lane.runs) == 1
    assert isinstance(scene.errors["a"], DeadlineExceeded)


def test_a_request_that_waits_to_be_run_again_expires_on_time() -> None:
    """By the same one timer, and it is not run again."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a")
    scene.submit("b", deadline=4.0)
    scene.lane.current.finish()
    scene.lane.current.fail(ValueError("one of them"))
    assert scene.riders[-1] == ["a"]
    (call,) = scene.clock.getDelayedCalls()
    assert call.getTime() == 4.0
    scene.clock.advance(4.0)
    assert scene.ended == ["running", "b"]
    scene.lane.current.finish()
    assert len(scene.lane.runs) == 3
    assert scene.ended == ["running", "b", "a"]


def test_a_drain_flushes_refuses_and_fires_after_the_last() -> None:
    """Waiting requests leave at once, new ones are turned away, and both drains fire once."""
    scene = Scene(policy=FixedPolicy(max_batch_size=8, max_queue_delay=1024.0))
    scene.submit("a")
    scene.submit("b")
    order: list[str] = []
    trace = Trace()
    last = scene.submit("c", trace=trace)
    last.addCallback(lambda _: order.append("c"))
    done = scene.drained()
    again = scene.drained()
    scene.batcher.drain().addCallback(lambda _: order.append("drained"))
    assert scene.batcher.stats().state is State.DRAINING
    assert scene.riders == [["a", "b", "c"]]
    assert [run.reason for run in trace.runs] == ["drain"]
    scene.submit("d")
    assert isinstance(scene.errors["d"], ShuttingDown)
    assert (done, again) == ([], [])
    scene.lane.current.finish()
    assert (done, again) == ([None], [None])
    assert order == ["c", "drained"]
    assert scene.batcher.stats().state is State.STOPPED
    assert scene.drained() == [None]


def test_a_drain_without_work_fires_at_once() -> None:
    """And stops."""
    scene = Scene()
    assert scene.drained() == [None]
    assert scene.batcher.stats().state is State.STOPPED


def test_a_drain_waits_for_what_is_run_again() -> None:
    """Until the last half has stood alone."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a")
    scene.submit("b")
    done = scene.drained()
    scene.lane.current.finish()
    scene.lane.current.fail(ValueError("one of them"))
    scene.lane.current.finish()
    assert scene.riders[-1] == ["b"]
    assert done == []
    scene.lane.current.fail(ValueError("b it was"))
    assert done == [None]
    assert scene.ended == ["running", "a", "b"]


def test_a_drain_waits_for_a_run_that_nobody_wants() -> None:
    """The lanes are idle when it fires, so that they can be stopped."""
    scene = Scene()
    answer = scene.submit("a")
    done = scene.drained()
    answer.cancel()
    assert done == []
    scene.lane.current.finish()
    assert done == [None]


class StubbornPolicy:
    """Never launches while anybody could still leave by himself: not even in a drain."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait for ever."""
        return WaitUntil(inf, "fixed")


def test_a_drain_fires_after_a_cancel_of_the_last() -> None:
    """The owner of the last request hears of its end before the drain's does."""
    scene = Scene(policy=StubbornPolicy())
    order: list[str] = []
    answer = scene.batcher.submit("a", 1, scene.queues[""])
    answer.addErrback(lambda _: order.append("a"))
    scene.batcher.drain().addCallback(lambda _: order.append("drained"))
    assert order == []
    answer.cancel()
    assert order == ["a", "drained"]


def test_a_drain_may_be_cancelled_alone() -> None:
    """The draining goes on; the other's Deferred fires."""
    scene = Scene()
    scene.submit("a")
    unwanted = scene.batcher.drain()
    errors: list[Failure] = []
    unwanted.addErrback(errors.append)
    done = scene.drained()
    unwanted.cancel()
    assert [error.type for error in errors] == [CancelledError]
    scene.lane.current.finish()
    assert done == [None]


@pytest.mark.parametrize("draining", [False, True])
def test_an_abort_fails_everyone_at_once_in_order(draining: bool) -> None:
    """Running, to be run again, waiting; late results are dropped, and later drains fire."""
    scene = Scene(lanes=2, cap=2)
    scene.submit("running")
    scene.submit("other")
    scene.submit("a")
    scene.submit("b")
    scene.lanes[0].current.finish()
    assert scene.lanes[0].current.pieces == [("a", 0, 1), ("b", 0, 1)]
    scene.lanes[0].current.fail(ValueError("one of them"))
    scene.submit("waiting", 3, deadline=8.0)
    assert scene.batcher.stats().retrying == 1
    done = scene.drained() if draining else []
    scene.batcher.abort()
    assert scene.ended == ["running", "other", "a", "b", "waiting"]
    assert [type(error) for error in scene.errors.values()] == [ShuttingDown] * 4
    assert done == ([None] if draining else [])
    assert scene.drained() == [None]
    for lane in scene.lanes:
        lane.current.finish()
    scene.batcher.abort()
    assert scene.ended == ["running", "other", "a", "b", "waiting"]
    stats = scene.batcher.stats()
    assert (stats.waiting, stats.retrying, stats.running) == (0, 0, 0)
    assert scene.clock.getDelayedCalls() == []
    scene.submit("late")
    assert isinstance(scene.errors["late"], ShuttingDown)


def test_a_callback_may_abort() -> None:
    """Whoever has not been answered by then is failed; the one who did keeps his result."""
    scene = Scene()
    scene.submit("a").addCallback(lambda _: scene.batcher.abort())
    scene.submit("b")
    scene.lane.current.finish()
    assert scene.ended == ["a", "b"]
    assert isinstance(scene.errors["b"], ShuttingDown)
