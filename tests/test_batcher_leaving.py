"""Requests that end without a result: cancels, deadlines, drains and aborts."""

from collections.abc import Callable
from math import inf

import pytest
from twisted.internet.defer import CancelledError

from batcher.errors import DeadlineExceeded, ShuttingDown
from batcher.policy import Decision, FixedPolicy, LaneView, QueueView, WaitUntil
from batcher.priority import Priority
from batcher.stats import State
from tests.fakes.executor import ManualBatcher

pytestmark = pytest.mark.usefixtures("no_error_is_unhandled")


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_request_is_not_launched_and_its_results_are_dropped(fails: bool) -> None:
    """Its room is free for others, and the others of its batch are answered in any case."""
    manual = ManualBatcher(limit=4)
    manual.submit("running")
    waits = manual.submit("waits", deadline=8.0)
    run = [manual.submit("runs"), manual.submit("runs too")]
    manual.submit("b")
    waits.cancel()
    waits.cancel()
    manual.submit("c")
    manual.lane.current.finish()
    for answer in run:
        answer.cancel()
    if fails:
        manual.lane.current.fail(ValueError("one of them"))
        manual.lane.current.finish()
    manual.lane.current.finish()
    rest = [["b"], ["c"]] if fails else []
    assert manual.batches == [["running"], ["runs", "runs too", "b", "c"], *rest]
    assert manual.results.keys() == {"running", "b", "c"}
    assert manual.ended == ["waits", "running", "runs", "runs too", "b", "c"]
    assert [type(error) for error in manual.errors.values()] == [CancelledError] * 3
    assert manual.clock.getDelayedCalls() == []


def test_a_failed_run_of_cancelled_requests_is_not_repeated() -> None:
    """No request needs its results."""
    manual = ManualBatcher()
    manual.submit("a").cancel()
    manual.lane.current.fail(ValueError("too late to matter"))
    assert (len(manual.lane.runs), manual.batcher.stats().running) == (1, 0)
    assert manual.ended == ["a"]


def test_a_callback_may_cancel_a_request_that_has_its_result() -> None:
    """The request counts as cancelled, although its run has succeeded; its own is fired already."""
    manual = ManualBatcher()
    manual.submit("running")
    first, second = manual.submit("a"), manual.submit("b")
    for each in (first, second):
        first.addCallback(lambda _, each: each.cancel(), each)
    manual.lane.current.finish()
    manual.lane.current.finish()
    assert manual.ended == ["running", "a", "b"]
    assert isinstance(manual.errors["b"], CancelledError)
    totals = manual.recorder.totals
    assert (totals.answered, totals.cancelled) == (2, 1)


def submit_late(manual: ManualBatcher) -> None:
    """At the deadline itself, beside an idle lane."""
    manual.lane.current.finish()
    manual.clock.advance(4.0)
    manual.submit("a", deadline=4.0)


def wait_until_late(manual: ManualBatcher) -> None:
    """While the lane is busy; the timer fires in time."""
    manual.submit("a", deadline=4.0)
    manual.clock.advance(4.0)
    manual.lane.current.finish()


def oversleep(manual: ManualBatcher) -> None:
    """The reactor is busy and no timer fires; the deadline is checked again at the launch."""
    manual.submit("a", deadline=4.0)
    manual.clock.rightNow = 6.0
    manual.lane.current.finish()


def run_too_long(manual: ManualBatcher) -> None:
    """The result is dropped."""
    manual.submit("a", deadline=4.0)
    manual.lane.current.finish()
    manual.clock.advance(6.0)
    manual.lane.current.finish()


def expire_half_run(manual: ManualBatcher) -> None:
    """The rest of its rows is not launched."""
    manual.submit("a", 12, deadline=4.0)
    manual.lane.current.finish()
    manual.clock.advance(4.0)
    manual.lane.current.finish()


def end_a_part_late(manual: ManualBatcher) -> None:
    """No further part is launched."""
    manual.submit("a", 12, deadline=4.0)
    manual.lane.current.finish()
    manual.clock.rightNow = 6.0
    manual.lane.current.finish()


def wait_for_a_retry(manual: ManualBatcher) -> None:
    """It is not run again."""
    manual.submit("other")
    manual.submit("a", deadline=4.0)
    manual.lane.current.finish()
    manual.lane.current.fail(ValueError("one of them"))
    assert manual.batches[-1] == ["other"]
    manual.clock.advance(4.0)
    manual.lane.current.finish()


@pytest.mark.parametrize(
    ("happens", "stage", "late", "launched"),
    [
        (submit_late, "submit", 0.0, 0),
        (wait_until_late, "queue", 0.0, 0),
        (oversleep, "queue", 2.0, 0),
        (run_too_long, "answer", 2.0, 1),
        (expire_half_run, "queue", 0.0, 1),
        (end_a_part_late, "answer", 2.0, 1),
        (wait_for_a_retry, "queue", 0.0, 1),
    ],
)
def test_a_late_request_ends_at_its_deadline(
    happens: Callable[[ManualBatcher], None], stage: str, late: float, launched: int
) -> None:
    """Once, with the stage at which it was found late; it is launched no further."""
    manual = ManualBatcher()
    manual.submit("running")
    happens(manual)
    error = manual.errors["a"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.stage, error.late) == (stage, late)
    assert sum("a" in batch for batch in manual.batches) == launched
    assert manual.ended.count("a") == 1
    assert manual.clock.getDelayedCalls() == []
    assert manual.batcher.stats().running == 0


def test_a_late_run_drops_the_results_of_late_requests_only() -> None:
    """An answer at the deadline is in time; all end in the order of the batch."""
    manual = ManualBatcher()
    manual.submit("running")
    for name, deadline in [("a", inf), ("b", 4.0), ("c", 8.0), ("d", 2.0)]:
        manual.submit(name, deadline=deadline)
        assert len(manual.clock.getDelayedCalls()) <= 1
    manual.lane.current.finish()
    manual.clock.advance(8.0)
    manual.lane.current.finish()
    assert manual.ended == ["running", "a", "b", "c", "d"]
    assert list(manual.errors) == ["b", "d"]


def test_a_drain_launches_refuses_and_fires_after_the_last() -> None:
    """Waiting requests are launched at once, new ones are refused, and each drain fires once."""
    manual = ManualBatcher(policy=FixedPolicy(max_batch_size=8, max_queue_delay=1024.0))
    manual.submit("a")
    manual.submit("b").addCallback(lambda _: order.append("b"))
    order: list[str] = []
    unwanted = manual.batcher.drain()
    unwanted.addErrback(lambda failure: order.append(type(failure.value).__name__))
    done = manual.drained()
    manual.batcher.drain().addCallback(lambda _: order.append("drained"))
    assert manual.batcher.stats().state is State.DRAINING
    assert manual.batches == [["a", "b"]]
    assert manual.report.runs[0].reason == "drain"
    manual.submit("c")
    assert isinstance(manual.errors["c"], ShuttingDown)
    with pytest.raises(ShuttingDown):
        manual.admit(manual.queues[""], deadline=100.0)
    unwanted.cancel()
    assert done == []
    manual.lane.current.finish()
    assert order == ["CancelledError", "b", "drained"]
    assert (done, manual.drained()) == ([None], [None])
    assert manual.batcher.stats().state is State.STOPPED


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


@pytest.mark.parametrize("draining", [False, True])
def test_an_abort_fails_all_requests_at_once_in_order(draining: bool) -> None:
    """Running, to be run again, waiting; late results are dropped, and later drains fire."""
    manual = ManualBatcher(lanes=2, cap=2)
    manual.submit("running")
    manual.submit("other")
    manual.submit("older")
    for name in "ab":
        manual.submit(name, priority=Priority.HIGH)
    manual.lanes[0].current.finish()
    assert manual.lanes[0].current.pieces == [("a", 0, 1), ("b", 0, 1)]
    manual.lanes[0].current.fail(ValueError("one of them"))
    manual.submit("waiting", 3, deadline=8.0)
    assert manual.batcher.stats().retrying == 1
    done = manual.drained() if draining else []
    manual.batcher.abort()
    assert manual.ended == ["running", "other", "older", "a", "b", "waiting"]
    assert [type(error) for error in manual.errors.values()] == [ShuttingDown] * 5
    assert done == ([None] if draining else [])
    assert manual.drained() == [None]
    for lane in manual.lanes:
        lane.current.finish()
    manual.batcher.abort()
    assert manual.ended == ["running", "other", "older", "a", "b", "waiting"]
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
