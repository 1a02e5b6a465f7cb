"""Requests that end without a result: cancels, deadlines, drains and aborts."""

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError

from batcher.errors import DeadlineExceeded, ShuttingDown
from batcher.policy import Decision, FixedPolicy, LaneView, QueueView, WaitUntil
from batcher.stats import State
from batcher.trace import Trace
from tests.fakes.executor import ManualBatcher, no_unhandled_errors

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its request."""
    with no_unhandled_errors():
        yield


def test_a_cancelled_request_that_was_not_launched_is_never_run() -> None:
    """Its room is free for others, and its only outcome is the CancelledError."""
    manual = ManualBatcher(limit=2)
    manual.submit("running")
    answer = manual.submit("a", deadline=8.0)
    manual.submit("b")
    answer.cancel()
    answer.cancel()
    manual.submit("c")
    manual.lane.current.finish()
    assert manual.batches == [["running"], ["b", "c"]]
    assert isinstance(manual.errors["a"], CancelledError)
    assert manual.ended.count("a") == 1
    manual.lane.current.finish()
    assert manual.clock.getDelayedCalls() == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_request_that_was_launched_is_run_and_dropped(fails: bool) -> None:
    """The other request of the batch is answered, whether the run succeeds or fails."""
    manual = ManualBatcher()
    manual.submit("running")
    answer = manual.submit("a")
    manual.submit("b")
    manual.lane.current.finish()
    answer.cancel()
    if fails:
        manual.lane.current.fail(ValueError("one of them"))
    manual.lane.current.finish()
    assert manual.batches == [["running"], ["a", "b"], ["b"]][: 3 if fails else 2]
    assert manual.results.keys() == {"running", "b"}
    assert manual.ended == ["running", "a", "b"]


def test_a_run_of_cancelled_requests_may_fail() -> None:
    """It is not run again."""
    manual = ManualBatcher()
    manual.submit("a").cancel()
    manual.lane.current.fail(ValueError("too late to matter"))
    assert manual.batcher.stats().running == 0
    assert len(manual.lane.runs) == 1
    assert manual.ended == ["a"]


def test_cancelling_a_split_request_drops_its_other_parts() -> None:
    """Waiting parts are never run; the result of the running part is dropped."""
    manual = ManualBatcher(cap=4)
    answer = manual.submit("a", 12)
    manual.submit("b")
    answer.cancel()
    assert manual.batcher.stats().waiting == 1
    manual.lane.current.finish()
    assert manual.lane.current.pieces == [("b", 0, 1)]


def test_a_callback_may_cancel_a_request_that_has_its_result() -> None:
    """The request counts as cancelled, although the run of both has succeeded."""
    manual = ManualBatcher()
    manual.submit("running")
    first = manual.submit("a")
    second = manual.submit("b")
    first.addCallback(lambda _: second.cancel())
    manual.lane.current.finish()
    manual.lane.current.finish()
    assert manual.ended == ["running", "a", "b"]
    assert isinstance(manual.errors["b"], CancelledError)
    totals = manual.recorder.totals
    assert (totals.answered, totals.cancelled) == (2, 1)


@pytest.mark.parametrize("deadline", [3.0, 4.0])
def test_a_deadline_that_has_come_is_refused_at_submit(deadline: float) -> None:
    """Even if a lane is idle: every run takes time."""
    manual = ManualBatcher()
    manual.clock.advance(4.0)
    manual.submit("a", deadline=deadline)
    error = manual.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (4.0 - deadline, "submit")
    assert manual.lane.runs == []


def test_a_request_expires_in_the_queue_on_time() -> None:
    """While the lane is busy, by the timer; it is never run."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a", deadline=4.0)
    manual.clock.advance(4.0)
    error = manual.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (0.0, "queue")
    manual.lane.current.finish()
    assert manual.batches == [["running"]]
    assert manual.clock.getDelayedCalls() == []


def test_a_request_that_expired_unnoticed_is_not_launched() -> None:
    """If the timer is late: the deadline is checked again at the launch."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a", deadline=4.0)
    manual.submit("b")
    manual.clock.rightNow = 6.0  # the reactor was busy: no timer has fired
    manual.lane.current.finish()
    assert manual.batches == [["running"], ["b"]]
    error = manual.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (2.0, "queue")


def test_an_answer_at_the_deadline_is_in_time_and_after_it_too_late() -> None:
    """A late run drops the results of late requests only."""
    manual = ManualBatcher()
    manual.submit("running")
    for name, deadline in [("a", 4.0), ("b", 8.0), ("c", inf)]:
        manual.submit(name, deadline=deadline)
    manual.lane.current.finish()
    assert manual.batches[1] == ["a", "b", "c"]
    manual.clock.advance(8.0)
    manual.lane.current.finish()
    assert manual.results.keys() == {"running", "b", "c"}
    error = manual.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (4.0, "answer")


def test_late_requests_end_in_the_order_of_the_batch() -> None:
    """Between the requests before and after them."""
    manual = ManualBatcher()
    manual.submit("running")
    for name, deadline in [("a", inf), ("b", 4.0), ("c", 8.0), ("d", 2.0)]:
        manual.submit(name, deadline=deadline)
    manual.lane.current.finish()
    manual.clock.advance(6.0)
    manual.lane.current.finish()
    assert manual.ended == ["running", "a", "b", "c", "d"]
    assert list(manual.errors) == ["b", "d"]


def test_a_split_request_that_expires_drops_the_rest_of_its_rows() -> None:
    """At its deadline; the end of the running part changes nothing."""
    manual = ManualBatcher(cap=4)
    manual.submit("a", 8, deadline=4.0)
    manual.clock.advance(4.0)
    assert manual.ended == ["a"]
    manual.lane.current.finish()
    assert len(manual.lane.runs) == 1
    assert manual.recorder.totals.expired == 8


def test_a_late_part_ends_a_split_request_at_once() -> None:
    """No further part is run, even if the timer has not fired."""
    manual = ManualBatcher(cap=4)
    manual.submit("a", 8, deadline=4.0)
    manual.clock.rightNow = 6.0
    manual.lane.current.finish()
    assert len(manual.lane.runs) == 1
    assert isinstance(manual.errors["a"], DeadlineExceeded)


def test_a_request_that_waits_to_be_run_again_expires_on_time() -> None:
    """By the same timer; it is not run again."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a")
    manual.submit("b", deadline=4.0)
    manual.lane.current.finish()
    manual.lane.current.fail(ValueError("one of them"))
    assert manual.batches[-1] == ["a"]
    (call,) = manual.clock.getDelayedCalls()
    assert call.getTime() == 4.0
    manual.clock.advance(4.0)
    assert manual.ended == ["running", "b"]
    manual.lane.current.finish()
    assert len(manual.lane.runs) == 3
    assert manual.ended == ["running", "b", "a"]


def test_a_drain_launches_refuses_and_fires_after_the_last() -> None:
    """Waiting requests are launched at once, new ones are refused, and both drains fire once."""
    manual = ManualBatcher(policy=FixedPolicy(max_batch_size=8, max_queue_delay=1024.0))
    manual.submit("a")
    manual.submit("b")
    order: list[str] = []
    trace = Trace()
    last = manual.submit("c", trace=trace)
    last.addCallback(lambda _: order.append("c"))
    done = manual.drained()
    again = manual.drained()
    manual.batcher.drain().addCallback(lambda _: order.append("drained"))
    assert manual.batcher.stats().state is State.DRAINING
    assert manual.batches == [["a", "b", "c"]]
    assert [run.reason for run in trace.runs] == ["drain"]
    manual.submit("d")
    assert isinstance(manual.errors["d"], ShuttingDown)
    assert (done, again) == ([], [])
    manual.lane.current.finish()
    assert (done, again) == ([None], [None])
    assert order == ["c", "drained"]
    assert manual.batcher.stats().state is State.STOPPED
    assert manual.drained() == [None]


def test_a_drain_without_work_fires_at_once() -> None:
    """The batcher is stopped then."""
    manual = ManualBatcher()
    assert manual.drained() == [None]
    assert manual.batcher.stats().state is State.STOPPED


def test_a_drain_waits_for_retries() -> None:
    """Until the last half has run alone."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a")
    manual.submit("b")
    done = manual.drained()
    manual.lane.current.finish()
    manual.lane.current.fail(ValueError("one of them"))
    manual.lane.current.finish()
    assert manual.batches[-1] == ["b"]
    assert done == []
    manual.lane.current.fail(ValueError("b it was"))
    assert done == [None]
    assert manual.ended == ["running", "a", "b"]


def test_a_drain_waits_for_a_run_of_cancelled_requests() -> None:
    """The lanes are idle when it fires, so that they can be stopped."""
    manual = ManualBatcher()
    answer = manual.submit("a")
    done = manual.drained()
    answer.cancel()
    assert done == []
    manual.lane.current.finish()
    assert done == [None]


class StubbornPolicy:
    """Never launches, not even in a drain."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait for ever."""
        return WaitUntil(inf, "fixed")


def test_a_drain_fires_after_a_cancel_of_the_last() -> None:
    """The Deferred of the last request fires before that of the drain."""
    manual = ManualBatcher(policy=StubbornPolicy())
    order: list[str] = []
    answer = manual.batcher.submit("a", 1, manual.queues[""])
    answer.addErrback(lambda _: order.append("a"))
    manual.batcher.drain().addCallback(lambda _: order.append("drained"))
    assert order == []
    answer.cancel()
    assert order == ["a", "drained"]


def test_a_drain_may_be_cancelled_alone() -> None:
    """The draining goes on; other drains fire."""
    manual = ManualBatcher()
    manual.submit("a")
    unwanted = manual.batcher.drain()
    errors: list[Failure] = []
    unwanted.addErrback(errors.append)
    done = manual.drained()
    unwanted.cancel()
    assert [error.type for error in errors] == [CancelledError]
    manual.lane.current.finish()
    assert done == [None]


@pytest.mark.parametrize("draining", [False, True])
def test_an_abort_fails_all_requests_at_once_in_order(draining: bool) -> None:
    """Running, to be run again, waiting; late results are dropped, and later drains fire."""
    manual = ManualBatcher(lanes=2, cap=2)
    manual.submit("running")
    manual.submit("other")
    manual.submit("a")
    manual.submit("b")
    manual.lanes[0].current.finish()
    assert manual.lanes[0].current.pieces == [("a", 0, 1), ("b", 0, 1)]
    manual.lanes[0].current.fail(ValueError("one of them"))
    manual.submit("waiting", 3, deadline=8.0)
    assert manual.batcher.stats().retrying == 1
    done = manual.drained() if draining else []
    manual.batcher.abort()
    assert manual.ended == ["running", "other", "a", "b", "waiting"]
    assert [type(error) for error in manual.errors.values()] == [ShuttingDown] * 4
    assert done == ([None] if draining else [])
    assert manual.drained() == [None]
    for lane in manual.lanes:
        lane.current.finish()
    manual.batcher.abort()
    assert manual.ended == ["running", "other", "a", "b", "waiting"]
    stats = manual.batcher.stats()
    assert (stats.waiting, stats.retrying, stats.running) == (0, 0, 0)
    assert manual.clock.getDelayedCalls() == []
    manual.submit("late")
    assert isinstance(manual.errors["late"], ShuttingDown)


def test_a_callback_may_abort() -> None:
    """Requests without an outcome fail; answered ones keep their results."""
    manual = ManualBatcher()
    manual.submit("a").addCallback(lambda _: manual.batcher.abort())
    manual.submit("b")
    manual.lane.current.finish()
    assert manual.ended == ["a", "b"]
    assert isinstance(manual.errors["b"], ShuttingDown)
