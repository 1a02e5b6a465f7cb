"""Requests in shared batches: splits, queues, bounds, callbacks, traces and stats."""

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred, succeed

from batcher.errors import OutOfMemory, QueueFull
from batcher.executor import Piece
from batcher.learning.latency import (
    DISPATCH_OVERHEAD_WEIGHT,
    MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS,
    LatencyCurve,
)
from batcher.policy import FixedPolicy
from batcher.queue import Queue
from batcher.stats import State
from batcher.trace import Run, Trace
from tests.fakes.executor import ManualBatcher, Rows, all_rows, no_unhandled_errors, rows_of


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its request."""
    with no_unhandled_errors():
        yield


def test_a_lone_request_is_launched_at_once_and_gets_its_result() -> None:
    """An idle lane never waits under the greedy policy."""
    manual = ManualBatcher()
    manual.submit("a", 2)
    assert manual.lane.current.pieces == [("a", 0, 2)]
    manual.lane.current.finish()
    assert manual.results == {"a": all_rows("a", 2)}
    assert manual.clock.getDelayedCalls() == []


def test_a_batch_is_formed_when_the_lane_is_idle() -> None:
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


def test_the_next_run_is_launched_before_any_deferred_fires() -> None:
    """So that the lane is not idle while callbacks run; l(b) is learned at the end."""
    manual = ManualBatcher()
    manual.latency.observe(4, 3.0)
    seen: list[tuple[int, float]] = []
    first = manual.batcher.submit("a", 4, manual.queues[""])
    first.addCallback(lambda _: seen.append((len(manual.lane.runs), manual.latency.predict(4))))
    manual.submit("b")
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    assert seen == [(2, 3.0)]
    assert manual.latency.predict(4) == 2.5


def test_the_queue_is_shared_over_the_idle_lanes() -> None:
    """Two idle lanes take half of the rows each, in order of arrival."""
    manual = ManualBatcher(lanes=2)
    manual.submit("a", 8)
    assert [lane.current.pieces for lane in manual.lanes] == [[("a", 0, 4)], [("a", 4, 8)]]
    manual.lanes[1].current.finish()
    assert manual.ended == []
    manual.lanes[0].current.finish()
    assert manual.results == {"a": all_rows("a", 8)}


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


def test_queues_never_share_a_run_and_none_starves() -> None:
    """A queue that always has a waiting request does not overtake the head of another."""
    manual = ManualBatcher(cap=2)
    manual.submit("a1", 2, key="a")
    for name, key in [("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b"), ("a4", "a")]:
        manual.submit(name, key=key)
    for _ in range(4):
        manual.lane.current.finish()
    assert manual.batches == [["a1"], ["a2", "a3"], ["b1", "b2"], ["a4"]]


def test_the_fixed_policy_waits_by_one_timer() -> None:
    """For the delay of the head; one delayed call, and none once all are launched."""
    manual = ManualBatcher(policy=FixedPolicy(max_batch_size=4, max_queue_delay=8.0))
    manual.submit("a")
    manual.clock.advance(4.0)
    manual.submit("b", key="other", deadline=64.0)
    manual.submit("c", deadline=32.0)
    (call,) = manual.clock.getDelayedCalls()
    assert call.getTime() == 8.0
    assert manual.batches == []
    manual.clock.advance(4.0)
    assert manual.batches == [["a", "c"]]
    manual.lane.current.finish()
    assert manual.batches == [["a", "c"]]
    manual.clock.advance(4.0)
    assert manual.batches == [["a", "c"], ["b"]]
    manual.lane.current.finish()
    assert manual.clock.getDelayedCalls() == []


def test_the_timer_is_brought_forward_for_an_earlier_deadline() -> None:
    """An early deadline among later ones is met, still by one delayed call."""
    manual = ManualBatcher()
    manual.submit("running")
    for deadline in (32.0, 8.0, 16.0):
        manual.submit(f"by {deadline}", deadline=deadline)
        assert len(manual.clock.getDelayedCalls()) == 1
    manual.clock.advance(8.0)
    assert manual.ended == ["by 8.0"]
    manual.clock.advance(8.0)
    assert manual.ended == ["by 8.0", "by 16.0"]
    assert len(manual.clock.getDelayedCalls()) == 1


def test_rows_bound_the_queue_and_the_newest_is_refused() -> None:
    """Running rows do not count, and a refusal does not affect waiting requests."""
    manual = ManualBatcher(limit=4)
    manual.submit("running", 4)
    manual.submit("a", 3)
    manual.submit("b", 2)
    error = manual.errors["b"]
    assert isinstance(error, QueueFull)
    assert (error.rows, error.waiting, error.limit) == (2, 3, 4)
    manual.submit("c", 1)
    assert manual.batcher.stats().waiting == 4
    manual.lane.current.finish()
    assert manual.batches[1] == ["a", "c"]


@pytest.mark.parametrize("rows", [0, -1])
def test_no_request_is_without_rows(rows: int) -> None:
    """A mistake of the caller, raised at submit."""
    manual = ManualBatcher()
    with pytest.raises(ValueError, match=f"{rows} rows cannot be run"):
        manual.submit("a", rows)


def test_a_batcher_needs_lanes() -> None:
    """Without one it would accept requests and never answer."""
    with pytest.raises(ValueError, match="without executors"):
        ManualBatcher(lanes=0)


@pytest.mark.parametrize(("cap", "limit"), [(0, 8), (8, 0)])
def test_a_queue_needs_room(cap: int, limit: int) -> None:
    """The error states both numbers."""
    with pytest.raises(ValueError, match=f"at least 1 row, not {cap} and {limit} rows"):
        Queue(LatencyCurve({}), cap, limit)


def test_a_full_queue_does_not_affect_another() -> None:
    """Each queue has its own cap and its own limit."""
    manual = ManualBatcher(cap=8, limit=16)
    manual.queues["small"] = Queue(LatencyCurve({}), 2, 4)
    manual.submit("running", 1)
    manual.submit("full", 4, key="small")
    manual.submit("refused", 1, key="small")
    manual.submit("other", 16)
    assert isinstance(manual.errors["refused"], QueueFull)
    assert (manual.errors["refused"].waiting, manual.errors["refused"].limit) == (4, 4)
    for _ in range(5):
        manual.lane.current.finish()
    assert [run.rows for run in manual.lane.runs] == [1, 2, 2, 8, 8]
    assert manual.ended == ["refused", "running", "full", "other"]


def test_each_queue_learns_how_long_its_own_runs_take() -> None:
    """Out of memory lowers the cap of its own queue only."""
    manual = ManualBatcher()
    manual.queues["large"] = Queue(LatencyCurve({}), 8, 64)
    manual.submit("large", 8, key="large")
    manual.lane.current.fail(OutOfMemory(8))
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    assert manual.queues["large"].latency.predict(4) == 2.0
    assert (manual.queues["large"].cap, manual.cap) == (4, 8)
    assert manual.latency.predict(4) == 0.0


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


def test_a_chain_of_callbacks_may_submit() -> None:
    """Each answer submits the next request; an instant executor answers all, each once."""
    manual = ManualBatcher(executors=[InstantExecutor()])

    def go_on(_: object, left: int) -> None:
        if left:
            manual.submit(f"{left}").addCallback(go_on, left - 1)

    go_on(None, 100)
    assert manual.ended == [f"{left}" for left in range(100, 0, -1)]


def test_a_trace_has_every_run() -> None:
    """The seconds in the queue, and each run: one that failed, and the retry."""
    manual = ManualBatcher()
    manual.submit("running", 2)
    trace = Trace()
    manual.submit("a", 2, trace=trace)
    manual.submit("b")
    manual.clock.advance(4.0)
    assert trace == Trace(None, [])
    manual.lane.current.finish()
    assert trace == Trace(4.0, [Run(3, 8, "idle", None, 4.0, 6.0)])
    manual.clock.advance(2.0)
    manual.lane.current.fail(ValueError("one of them"))
    manual.clock.advance(1.0)
    manual.lane.current.finish()
    assert trace == Trace(
        4.0, [Run(3, 8, "idle", 2.0, 4.0, 6.0), Run(2, 8, "retry", 1.0, 6.0, 4.0)]
    )


def test_a_trace_of_a_split_request_has_a_run_for_each_part() -> None:
    """With the cap of each launch, lowered after out of memory."""
    manual = ManualBatcher(cap=4)
    trace = Trace()
    manual.submit("a", 6, trace=trace)
    manual.lane.current.fail(OutOfMemory(4))
    for _ in range(3):
        manual.lane.current.finish()
    assert [(run.rows, run.cap, run.reason) for run in trace.runs] == [
        (4, 4, "full"),
        (2, 2, "retry"),
        (2, 2, "retry"),
        (2, 2, "full"),
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


def test_stats_count_rows_and_do_not_change_afterwards() -> None:
    """Every submitted row is in exactly one place."""
    manual = ManualBatcher(cap=4, limit=16)
    before = manual.report
    manual.submit("answered", 3)
    manual.submit("failed", 2)
    manual.submit("expired", 4, deadline=1.0)
    manual.submit("cancelled", 5).cancel()
    manual.submit("refused", 17)
    manual.clock.advance(1.0)
    manual.submit("late", 6, deadline=1.0)
    manual.submit("waiting", 7)
    manual.lane.current.finish()
    manual.lane.current.fail(ValueError("bad"))
    assert manual.batcher.stats().retrying == 2
    manual.lane.current.fail(ValueError("bad"))
    stats, totals = manual.report.stats, manual.report.totals
    assert (stats.state, stats.lanes, stats.running) == (State.RUNNING, 1, 1)
    assert (stats.waiting, stats.retrying) == (5, 0)
    assert (totals.runs, totals.run_rows) == (4, 11)
    assert (totals.answered, totals.failed) == (3, 2)
    assert (totals.expired, totals.cancelled, totals.refused) == (10, 5, 17)
    assert before.totals.runs == 0


def test_the_latency_of_runs_that_succeed_is_learned() -> None:
    """By their rows; a failed run changes nothing."""
    manual = ManualBatcher()
    manual.submit("a", 4)
    manual.clock.advance(8.0)
    manual.lane.current.fail(ValueError("slow to fail"))
    assert not manual.queues[""].learn()
    assert manual.latency.predict(4) == 0.0
    manual.submit("b", 4)
    manual.clock.advance(4.0)
    manual.lane.current.finish()
    manual.queues[""].learn()
    assert manual.latency.predict(4) == 4.0


#: The average dispatch overhead after one run with a long one.
OVERHEAD = DISPATCH_OVERHEAD_WEIGHT * MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS


@pytest.mark.parametrize(
    ("own", "of_one", "of_four"),
    [
        (None, 4.5, 8.0),  # unknown: all of the time counts as the run
        (
            6.0,
            4.5 + OVERHEAD,
            6.0 + OVERHEAD,
        ),  # two seconds of overhead: a small part counts, for all sizes
        (9.0, 4.5, 8.0),  # no run is longer than the batcher measured,
        (-1.0, 4.5 + OVERHEAD, 4.5 + OVERHEAD),  # nor negative, if a clock was set back
    ],
)
def test_the_seconds_of_the_executor_count_as_the_run(
    own: float | None, of_one: float, of_four: float
) -> None:
    """The rest is dispatch overhead, which all sizes share."""
    manual = ManualBatcher()
    manual.latency.observe(1, 4.5)
    manual.lane.seconds = own
    manual.submit("a", 4)
    manual.clock.advance(8.0)
    manual.lane.current.finish()
    manual.queues[""].learn()
    assert manual.latency.predict(4) == pytest.approx(of_four)
    assert manual.latency.predict(1) == pytest.approx(of_one)


def test_a_clock_that_is_set_back_has_no_effect() -> None:
    """As when the time of a machine is corrected: no duration is negative."""
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
    manual.queues[""].learn()
    assert manual.latency.predict(1) == 0.0
