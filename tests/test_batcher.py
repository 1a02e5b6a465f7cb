"""Requests in shared batches: splits, bounds, callbacks, traces and what is learned."""

from collections.abc import Callable, Sequence
from math import inf, nan

import pytest
from twisted.internet.defer import Deferred, succeed

from batcher.errors import OutOfMemory, QueueFull
from batcher.executor import Piece
from batcher.learning.latency import (
    DISPATCH_OVERHEAD_WEIGHT,
    MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS,
    LatencyCurve,
)
from batcher.queue import Queue
from batcher.share import Account, Share
from batcher.trace import Run, Trace
from tests.fakes.executor import ManualBatcher, Rows, all_rows, rows_of

pytestmark = pytest.mark.usefixtures("no_error_is_unhandled")


def test_a_batch_is_formed_when_a_lane_is_idle() -> None:
    """Requests that arrive during a run share the next; answers are in order of arrival."""
    manual = ManualBatcher()
    for name in "abcd":
        manual.submit(name)
    assert manual.batches == [["a"]]
    manual.lane.current.finish()
    assert manual.batches == [["a"], ["b", "c", "d"]]
    manual.lane.current.finish()
    assert manual.ended == ["a", "b", "c", "d"]
    assert manual.results["c"] == all_rows("c")
    assert manual.clock.getDelayedCalls() == []


def test_a_request_over_the_cap_is_split_and_joined_in_order() -> None:
    """The cap is in rows; a later request shares the batch with its last part."""
    manual = ManualBatcher(cap=4)
    manual.submit("a", 10)
    manual.submit("b")
    for _ in range(3):
        manual.lane.current.finish()
    assert [run.pieces for run in manual.lane.runs] == [
        [("a", 0, 4)],
        [("a", 4, 8)],
        [("a", 8, 10), ("b", 0, 1)],
    ]
    assert manual.ended == ["a", "b"]
    assert manual.results == {"a": all_rows("a", 10), "b": all_rows("b")}


def test_the_lane_that_ran_last_is_used_first() -> None:
    """It has the warmest caches; lanes that never ran are used in order."""
    manual = ManualBatcher(lanes=3)
    manual.submit("a")
    manual.submit("b")
    manual.lanes[0].current.finish()
    manual.lanes[1].current.finish()
    for name in "cde":
        manual.submit(name)
    used = [[run.given[0].item for run in lane.runs] for lane in manual.lanes]
    assert used == [["a", "d"], ["b", "c"], ["e"]]


def test_waiting_rows_are_limited_for_each_queue_and_the_newest_is_refused() -> None:
    """Running rows do not count, and a refusal does not affect other requests."""
    manual = ManualBatcher(limit=16)
    manual.queues["small"] = Queue(LatencyCurve({}), 2, 4)
    manual.submit("running", 4)
    manual.submit("full", 3, key="small")
    manual.submit("refused", 2, key="small")
    manual.submit("fits", 1, key="small")
    manual.submit("other", 16)
    error = manual.errors["refused"]
    assert isinstance(error, QueueFull)
    assert (error.rows, error.waiting, error.limit) == (2, 3, 4)
    for _ in range(5):
        manual.lane.current.finish()
    assert [run.rows for run in manual.lane.runs] == [4, 2, 2, 8, 8]
    assert manual.ended == ["refused", "running", "full", "fits", "other"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ManualBatcher().submit("a", 0), "0 rows cannot be run"),
        (lambda: ManualBatcher().submit("a", -1), "-1 rows cannot be run"),
        (lambda: ManualBatcher(lanes=0), "without executors"),
        (lambda: Queue(LatencyCurve({}), 0, 8), "at least 1 row, not 0 and 8 rows"),
        (lambda: Queue(LatencyCurve({}), 8, 0), "at least 1 row, not 8 and 0 rows"),
        (lambda: Account(0.0), "above 0, not 0.0"),
        (lambda: Account(-1.0), "above 0, not -1.0"),
        (lambda: Account(nan), "above 0, not nan"),
        (lambda: Account(inf), "above 0, not inf"),
    ],
)
def test_a_mistake_of_the_caller_raises_at_once(make: Callable[[], object], message: str) -> None:
    """The message has the wrong numbers."""
    with pytest.raises(ValueError, match=message):
        make()


def test_a_callback_may_submit_and_the_answers_stay_in_order() -> None:
    """The new request is launched at once, but no Deferred fires inside a callback of another."""
    manual = ManualBatcher()
    inside: list[list[str]] = []

    def submit_more(_: object) -> None:
        manual.submit("c")
        assert manual.lane.current.pieces == [("c", 0, 1)]
        inside.append(list(manual.ended))

    manual.submit("running")
    manual.submit("a").addCallback(submit_more)
    manual.submit("b")
    manual.lane.current.finish()
    manual.lane.current.finish()
    assert inside == [["running", "a"]]
    assert manual.ended == ["running", "a", "b"]


class InstantExecutor:
    """An executor that ends a run before it returns; may submit a request first."""

    seconds: float | None = None

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.before: list[tuple[str, int]] = []
        self.manual: ManualBatcher | None = None

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[Rows[str]]]:
        """Submit what is listed in *before*, then succeed."""
        self.sizes.append(sum(piece.rows for piece in pieces))
        if self.manual is not None and self.before:
            self.manual.submit(*self.before.pop())
        return succeed([rows_of(piece) for piece in pieces])


def test_an_executor_may_answer_at_once_and_call_back_while_it_is_called() -> None:
    """A thousand runs in one turn need no deep stack, and a submit from within is served."""
    executor = InstantExecutor()
    manual = ManualBatcher(cap=1, limit=2048, executors=[executor])
    executor.manual = manual
    executor.before = [("inner", 2)]
    manual.submit("a", 2000)
    assert manual.results["inner"] == all_rows("inner", 2)
    assert manual.results["a"] == all_rows("a", 2000)
    assert executor.sizes == [1] * 2002


def test_a_trace_has_every_run_with_the_cap_of_its_launch() -> None:
    """The seconds in the queue; a run that failed, its retries, and the other part."""
    manual = ManualBatcher(cap=4)
    trace = Trace()
    manual.submit("running")
    manual.submit("a", 6, trace=trace)
    manual.clock.advance(4.0)
    assert trace == Trace(None, [])
    manual.latency.observe(4, 2.0)
    manual.lane.current.finish()
    assert trace == Trace(4.0, [Run(4, 4, "full", None, 4.0, 2.0, waiting_rows=2)])
    manual.clock.advance(1.0)
    manual.lane.current.fail(OutOfMemory(4))
    for _ in range(3):
        manual.clock.advance(1.0)
        manual.lane.current.finish()
    assert [(run.rows, run.cap, run.reason, run.seconds, run.started) for run in trace.runs] == [
        (4, 4, "full", 1.0, 4.0),
        (2, 2, "retry", 1.0, 5.0),
        (2, 2, "retry", 1.0, 6.0),
        (2, 2, "full", 1.0, 7.0),
    ]


def test_a_trace_of_a_request_that_was_never_launched_has_its_wait() -> None:
    """Cancelled or expired; the trace of a cancelled request in a run gets the seconds of it."""
    manual = ManualBatcher()
    traces = [Trace() for _ in range(3)]
    running = manual.submit("running", trace=traces[0])
    cancelled = manual.submit("cancelled", trace=traces[1])
    manual.submit("expired", deadline=4.0, trace=traces[2])
    manual.clock.advance(2.0)
    cancelled.cancel()
    running.cancel()
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    assert traces == [Trace(0.0, [Run(1, 8, "idle", 4.0)]), Trace(2.0, []), Trace(4.0, [])]


def test_a_clock_that_is_set_back_has_no_effect() -> None:
    """No duration is negative."""
    manual = ManualBatcher()
    manual.submit("a")
    trace = Trace()
    manual.submit("b", trace=trace)
    manual.clock.rightNow = -8.0
    manual.lane.current.finish()
    manual.clock.rightNow = -16.0
    manual.lane.current.finish()
    assert manual.ended == ["a", "b"]
    assert trace == Trace(0.0, [Run(1, 8, "idle", 0.0, started=-8.0)])


def test_learning_comes_after_the_answers_and_the_next_launch() -> None:
    """A callback still reads the former l(b), while the next batch runs."""
    manual = ManualBatcher()
    manual.latency.observe(4, 3.0)
    seen: list[tuple[int, float]] = []

    def read(_: object) -> None:
        seen.append((len(manual.lane.runs), manual.latency.predict(4)))

    manual.submit("a", 4).addCallback(read)
    manual.submit("b")
    manual.batcher.drain(Share("empty")).addCallback(read)
    manual.clock.advance(2.7)
    manual.lane.current.finish()
    assert seen == [(1, 3.0), (2, 3.0)]
    assert manual.latency.predict(4) < 3.0


def test_each_queue_learns_from_its_own_runs_that_succeed() -> None:
    """A failed run teaches nothing; out of memory lowers the cap of its own queue only."""
    manual = ManualBatcher()
    large = manual.queues["large"] = Queue(LatencyCurve({}), 8, 64)
    manual.submit("large", 8, key="large")
    manual.clock.advance(8.0)
    manual.lane.current.fail(OutOfMemory(8))
    assert large.latency.fitted == {}
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    assert large.latency.fitted == {4: 2.0}
    assert (large.cap, manual.cap) == (4, 8)
    assert manual.latency.fitted == {}


#: The average dispatch overhead after one run with a long one.
OVERHEAD = DISPATCH_OVERHEAD_WEIGHT * MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS


@pytest.mark.parametrize(
    ("own", "overhead", "expected"),
    [
        (None, 0.0, 8.0),  # unknown: all of the time counts as the run
        (6.0, 2.0, 6.0 + OVERHEAD),
        (9.0, 0.0, 8.0),  # no run is longer than the batcher measured,
        (-1.0, 8.0, OVERHEAD),  # nor negative, if a clock was set back
    ],
)
def test_the_seconds_of_the_executor_count_as_the_run(
    own: float | None, overhead: float, expected: float
) -> None:
    """Of 8 s from launch to end; a small part of the dispatch overhead counts at first."""
    manual = ManualBatcher()
    manual.lane.seconds = own
    trace = Trace()
    manual.submit("a", 4, trace=trace)
    manual.clock.advance(8.0)
    manual.lane.current.finish()
    assert (trace.runs[0].seconds, trace.runs[0].dispatch_overhead) == (8.0, overhead)
    assert manual.latency.predict(4) == pytest.approx(expected, abs=1e-8)
