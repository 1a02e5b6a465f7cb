"""How requests ride together: batches, splits, keys, bounds, callbacks, and what is told of it."""

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
from tests.fakes.executor import Rows, Scene, no_unhandled_errors, rows_of, whole


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its owner."""
    with no_unhandled_errors():
        yield


def test_a_lone_request_leaves_at_once_and_gets_its_result() -> None:
    """An idle lane never waits for company under the greedy policy."""
    scene = Scene()
    scene.submit("a", 2)
    assert scene.lane.current.pieces == [("a", 0, 2)]
    scene.lane.current.finish()
    assert scene.results == {"a": whole("a", 2)}
    assert scene.clock.getDelayedCalls() == []


def test_a_batch_is_made_up_when_the_lane_is_free() -> None:
    """Whoever came during a run rides in the next, and answers come in order of arrival."""
    scene = Scene()
    for name in "abcd":
        scene.submit(name)
    assert scene.riders == [["a"]]
    scene.lane.current.finish()
    assert scene.riders == [["a"], ["b", "c", "d"]]
    scene.lane.current.finish()
    assert scene.ended == ["a", "b", "c", "d"]
    assert scene.results["c"] == whole("c")


def test_the_next_run_is_launched_before_anyone_is_answered() -> None:
    """So that the lane does not stand idle while callbacks run; l(b) is learned at the end."""
    scene = Scene()
    scene.latency.observe(4, 3.0)
    seen: list[tuple[int, float]] = []
    first = scene.batcher.submit("a", 4, scene.queues[""])
    first.addCallback(lambda _: seen.append((len(scene.lane.runs), scene.latency.predict(4))))
    scene.submit("b")
    scene.clock.advance(2.0)
    scene.lane.current.finish()
    assert seen == [(2, 3.0)]
    assert scene.latency.predict(4) == 2.5


def test_the_queue_is_shared_over_the_idle_lanes() -> None:
    """Two idle lanes take half each, in order of arrival, rather than one all of it."""
    scene = Scene(lanes=2)
    scene.submit("a", 8)
    assert [lane.current.pieces for lane in scene.lanes] == [[("a", 0, 4)], [("a", 4, 8)]]
    scene.lanes[1].current.finish()
    assert scene.ended == []
    scene.lanes[0].current.finish()
    assert scene.results == {"a": whole("a", 8)}


def test_a_request_over_the_cap_is_split_and_joined_in_order() -> None:
    """Rows are what limits; later requests ride along with its last part."""
    scene = Scene(cap=4)
    scene.submit("a", 10)
    scene.submit("b")
    for _ in range(3):
        scene.lane.current.finish()
    assert [run.pieces for run in scene.lane.runs] == [
        [("a", 0, 4)],
        [("a", 4, 8)],
        [("a", 8, 10), ("b", 0, 1)],
    ]
    assert scene.ended == ["a", "b"]
    assert scene.results == {"a": whole("a", 10), "b": whole("b")}


def test_keys_never_share_a_run_and_none_starves() -> None:
    """A key whose next request always waits does not overtake the head of another."""
    scene = Scene(cap=2)
    scene.submit("a1", 2, key="a")
    for name, key in [("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b"), ("a4", "a")]:
        scene.submit(name, key=key)
    for _ in range(4):
        scene.lane.current.finish()
    assert scene.riders == [["a1"], ["a2", "a3"], ["b1", "b2"], ["a4"]]


def test_the_fixed_policy_waits_by_one_timer() -> None:
    """The head's delay, however many come; one delayed call, and none once all have left."""
    scene = Scene(policy=FixedPolicy(max_batch_size=4, max_queue_delay=8.0))
    scene.submit("a")
    scene.clock.advance(4.0)
    scene.submit("b", key="other", deadline=64.0)
    scene.submit("c", deadline=32.0)
    (call,) = scene.clock.getDelayedCalls()
    assert call.getTime() == 8.0
    assert scene.riders == []
    scene.clock.advance(4.0)
    assert scene.riders == [["a", "c"]]
    scene.lane.current.finish()
    assert scene.riders == [["a", "c"]]
    scene.clock.advance(4.0)
    assert scene.riders == [["a", "c"], ["b"]]
    scene.lane.current.finish()
    assert scene.clock.getDelayedCalls() == []


def test_the_timer_is_brought_forward_for_an_earlier_deadline() -> None:
    """An early deadline among later ones is kept, still by one delayed call."""
    scene = Scene()
    scene.submit("running")
    for deadline in (32.0, 8.0, 16.0):
        scene.submit(f"by {deadline}", deadline=deadline)
        assert len(scene.clock.getDelayedCalls()) == 1
    scene.clock.advance(8.0)
    assert scene.ended == ["by 8.0"]
    scene.clock.advance(8.0)
    assert scene.ended == ["by 8.0", "by 16.0"]
    assert len(scene.clock.getDelayedCalls()) == 1


def test_rows_bound_the_queue_and_the_newest_is_refused() -> None:
    """Not requests; what runs does not count, and a refusal harms nobody who waits."""
    scene = Scene(limit=4)
    scene.submit("running", 4)
    scene.submit("a", 3)
    scene.submit("b", 2)
    error = scene.errors["b"]
    assert isinstance(error, QueueFull)
    assert (error.rows, error.waiting, error.limit) == (2, 3, 4)
    scene.submit("c", 1)
    assert scene.batcher.stats().waiting == 4
    scene.lane.current.finish()
    assert scene.riders[1] == ["a", "c"]


@pytest.mark.parametrize("rows", [0, -1])
def test_no_request_is_without_rows(rows: int) -> None:
    """A mistake of the caller, raised where it was made."""
    scene = Scene()
    with pytest.raises(ValueError, match=f"{rows} rows cannot be run"):
        scene.submit("a", rows)


def test_a_batcher_needs_lanes() -> None:
    """Without one it would take requests in and never answer."""
    with pytest.raises(ValueError, match="without executors"):
        Scene(lanes=0)


@pytest.mark.parametrize(("cap", "limit"), [(0, 8), (8, 0)])
def test_a_queue_needs_room(cap: int, limit: int) -> None:
    """The error states both numbers."""
    message = f"a cap and a limit of at least 1 row, not {cap} and {limit} rows"
    with pytest.raises(ValueError, match=message):
        Queue(LatencyCurve({}), cap, limit)


def test_a_full_queue_keeps_nobody_out_of_another() -> None:
    """Each profile has its own cap and its own room."""
    scene = Scene(cap=8, limit=16)
    scene.queues["small"] = Queue(LatencyCurve({}), 2, 4)
    scene.submit("running", 1)
    scene.submit("full", 4, key="small")
    scene.submit("refused", 1, key="small")
    scene.submit("other", 16)
    assert isinstance(scene.errors["refused"], QueueFull)
    assert (scene.errors["refused"].waiting, scene.errors["refused"].limit) == (4, 4)
    for _ in range(5):
        scene.lane.current.finish()
    assert [run.rows for run in scene.lane.runs] == [1, 2, 2, 8, 8]
    assert scene.ended == ["refused", "running", "full", "other"]


def test_each_profile_learns_how_long_its_own_runs_take() -> None:
    """And loses rows to a lack of memory for itself alone."""
    scene = Scene()
    scene.queues["large"] = Queue(LatencyCurve({}), 8, 64)
    scene.submit("large", 8, key="large")
    scene.lane.current.fail(OutOfMemory(8))
    scene.clock.advance(2.0)
    scene.lane.current.finish()
    assert scene.queues["large"].latency.predict(4) == 2.0
    assert (scene.queues["large"].cap, scene.cap) == (4, 8)
    assert scene.latency.predict(4) == 0.0


def test_a_callback_may_submit_and_the_answers_stay_in_order() -> None:
    """The new request is launched at once, but nobody is answered inside another's callback."""
    scene = Scene()
    inside: list[list[str]] = []

    def submit_more(_: object) -> None:
        scene.submit("c")
        assert scene.lane.current.pieces == [("c", 0, 1)]
        inside.append(list(scene.ended))

    scene.submit("running")
    scene.submit("a").addCallback(submit_more)
    scene.submit("b")
    scene.lane.current.finish()
    scene.lane.current.finish()
    assert inside == [["running", "a"]]
    assert scene.ended == ["running", "a", "b"]


class InstantExecutor:
    """Answers before it returns, and first does what the test asks."""

    seconds: float | None = None

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.before: list[tuple[str, int]] = []
        self.scene: Scene | None = None

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[Rows[str]]]:
        """Submit what is listed in *before*, then succeed."""
        self.sizes.append(sum(piece.rows for piece in pieces))
        if self.scene is not None and self.before:
            self.scene.submit(*self.before.pop())
        return succeed([rows_of(piece) for piece in pieces])


def test_an_executor_may_answer_at_once_and_call_back_while_it_is_called() -> None:
    """A thousand runs in one turn need no deep stack, and a submit from within is served."""
    executor = InstantExecutor()
    scene = Scene(cap=1, limit=2048, executors=[executor])
    executor.scene = scene
    executor.before = [("inner", 2)]
    scene.submit("a", 2000)
    assert scene.results["inner"] == whole("inner", 2)
    assert scene.results["a"] == whole("a", 2000)
    assert executor.sizes == [1] * 2002


def test_a_chain_of_callbacks_that_submit_ends_well() -> None:
    """Each answer submits the next request; an instant executor answers all, each once."""
    scene = Scene(executors=[InstantExecutor()])

    def go_on(_: object, left: int) -> None:
        if left:
            scene.submit(f"{left}").addCallback(go_on, left - 1)

    go_on(None, 100)
    assert scene.ended == [f"{left}" for left in range(100, 0, -1)]


def test_a_trace_tells_of_every_ride() -> None:
    """How long it queued, and each batch: the first failed, then by itself."""
    scene = Scene()
    scene.submit("running", 2)
    trace = Trace()
    scene.submit("a", 2, trace=trace)
    scene.submit("b")
    scene.clock.advance(4.0)
    assert trace == Trace(None, [])
    scene.lane.current.finish()
    assert trace == Trace(4.0, [Run(3, 8, "idle", None, 4.0, 6.0)])
    scene.clock.advance(2.0)
    scene.lane.current.fail(ValueError("one of them"))
    scene.clock.advance(1.0)
    scene.lane.current.finish()
    assert trace == Trace(
        4.0, [Run(3, 8, "idle", 2.0, 4.0, 6.0), Run(2, 8, "retry", 1.0, 6.0, 4.0)]
    )


def test_a_trace_of_a_split_request_has_a_run_for_each_part() -> None:
    """And the cap of each launch, lowered after out of memory."""
    scene = Scene(cap=4)
    trace = Trace()
    scene.submit("a", 6, trace=trace)
    scene.lane.current.fail(OutOfMemory(4))
    for _ in range(3):
        scene.lane.current.finish()
    assert [(run.rows, run.cap, run.reason) for run in trace.runs] == [
        (4, 4, "full"),
        (2, 2, "retry"),
        (2, 2, "retry"),
        (2, 2, "full"),
    ]


def test_a_trace_of_one_who_never_rode_tells_how_long_he_waited() -> None:
    """Cancelled or expired; and the trace of a cancelled rider learns how its run went."""
    scene = Scene()
    traces = [Trace() for _ in range(3)]
    rider = scene.submit("rider", trace=traces[0])
    cancelled = scene.submit("cancelled", trace=traces[1])
    scene.submit("expired", deadline=4.0, trace=traces[2])
    scene.clock.advance(2.0)
    cancelled.cancel()
    rider.cancel()
    scene.clock.advance(2.0)
    scene.lane.current.finish()
    assert traces == [Trace(0.0, [Run(1, 8, "idle", 4.0)]), Trace(2.0, []), Trace(4.0, [])]


def test_stats_count_rows_and_do_not_change_afterwards() -> None:
    """Every row that was ever submitted is in exactly one place."""
    scene = Scene(cap=4, limit=16)
    before = scene.batcher.stats()
    scene.submit("answered", 3)
    scene.submit("failed", 2)
    scene.submit("expired", 4, deadline=1.0)
    scene.submit("cancelled", 5).cancel()
    scene.submit("refused", 17)
    scene.clock.advance(1.0)
    scene.submit("late", 6, deadline=1.0)
    scene.submit("waiting", 7)
    scene.lane.current.finish()
    scene.lane.current.fail(ValueError("bad"))
    assert scene.batcher.stats().retrying == 2
    scene.lane.current.fail(ValueError("bad"))
    stats = scene.batcher.stats()
    assert (stats.state, stats.lanes, stats.running) == (State.RUNNING, 1, 1)
    assert (stats.waiting, stats.retrying) == (5, 0)
    assert (stats.totals.runs, stats.totals.run_rows) == (4, 11)
    assert (stats.totals.answered, stats.totals.failed) == (3, 2)
    assert (stats.totals.expired, stats.totals.cancelled, stats.totals.refused) == (10, 5, 17)
    assert before.totals.runs == 0


def test_the_latency_of_runs_that_succeed_is_learned() -> None:
    """By their rows; a failed run teaches nothing about the next."""
    scene = Scene()
    scene.submit("a", 4)
    scene.clock.advance(8.0)
    scene.lane.current.fail(ValueError("slow to fail"))
    assert not scene.queues[""].learn()
    assert scene.latency.predict(4) == 0.0
    scene.submit("b", 4)
    scene.clock.advance(4.0)
    scene.lane.current.finish()
    scene.queues[""].learn()
    assert scene.latency.predict(4) == 4.0


#: What is believed of the way after one run that was long on it.
WAY = DISPATCH_OVERHEAD_WEIGHT * MIN_DISPATCH_OVERHEAD_LIMIT_SECONDS


@pytest.mark.parametrize(
    ("own", "of_one", "of_four"),
    [
        (None, 4.5, 8.0),  # the batcher's watch alone: each size for itself
        (6.0, 4.5 + WAY, 6.0 + WAY),  # two seconds on the way: a little of it, of any size
        (9.0, 4.5, 8.0),  # no run takes longer than it took,
        (-1.0, 4.5 + WAY, 4.5 + WAY),  # nor less than no time, where a clock was set back
    ],
)
def test_what_a_lane_says_of_its_runs_counts(
    own: float | None, of_one: float, of_four: float
) -> None:
    """The rest is the way there and back, which is shared by all sizes."""
    scene = Scene()
    scene.latency.observe(1, 4.5)
    scene.lane.seconds = own
    scene.submit("a", 4)
    scene.clock.advance(8.0)
    scene.lane.current.finish()
    scene.queues[""].learn()
    assert scene.latency.predict(4) == pytest.approx(of_four)
    assert scene.latency.predict(1) == pytest.approx(of_one)


def test_a_clock_that_is_set_back_harms_nobody() -> None:
    """As when a machine's time is corrected: no duration is negative, and the answer comes."""
    scene = Scene()
    scene.submit("a")
    trace = Trace()
    scene.submit("b", trace=trace)
    scene.clock.rightNow = -8.0
    scene.lane.current.finish()
    scene.clock.rightNow = -16.0
    scene.lane.current.finish()
    assert scene.ended == ["a", "b"]
    assert trace == Trace(0.0, [Run(1, 8, "idle", 0.0, started=-8.0)])
    scene.queues[""].learn()
    assert scene.latency.predict(1) == 0.0
