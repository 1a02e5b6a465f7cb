"""When a batch is launched, and with how many rows."""

from dataclasses import replace
from math import inf

import pytest

from batcher.learning.arrivals import Arrivals
from batcher.learning.latency import EXPLORATION_INTERVAL_BATCHES, LatencyCurve
from batcher.learning.returns import Returning
from batcher.policy import (
    Decision,
    FixedPolicy,
    Idle,
    LaneView,
    Launch,
    LotPolicy,
    Policy,
    QueueView,
    WaitUntil,
)
from batcher.trace import Reason

ONE = LaneView(idle=1, total=2, cap=8)
TWO = LaneView(idle=2, total=2, cap=8)
BUSY = LaneView(idle=0, total=2, cap=8)
LOWERED = LaneView(idle=1, total=2, cap=2)


@pytest.mark.parametrize(
    ("queue", "lanes", "decision"),
    [
        (QueueView(0, 0.0), ONE, Idle()),
        (QueueView(5, 0.0), BUSY, Idle()),
        (QueueView(5, 0.0), ONE, Launch(5, "idle")),
        (QueueView(5, 0.0), TWO, Launch(3, "idle")),  # shared, rounded up
        (QueueView(1, 0.0), TWO, Launch(1, "idle")),
        (QueueView(8, 0.0), ONE, Launch(8, "full")),
        (QueueView(99, 0.0), TWO, Launch(8, "full")),
        (QueueView(5, 0.0, draining=True), ONE, Launch(5, "drain")),
        (QueueView(9, 0.0, draining=True), ONE, Launch(8, "full")),
        (QueueView(5, 0.0), LOWERED, Launch(2, "full")),
        (QueueView(5, 0.0, deadline=1.0), ONE, Launch(5, "idle")),
    ],
)
def test_without_measurements_all_waiting_rows_are_launched(
    queue: QueueView, lanes: LaneView, decision: Decision
) -> None:
    """At once, shared over the idle lanes."""
    made = LotPolicy().decide(0.5, queue, lanes)
    if isinstance(decision, Launch):
        # A lone request delays no other: it is not dropped.
        decision = replace(decision, finish=0.5 if queue.rows > 1 else -inf)
    assert made == decision


CPU = LatencyCurve({rows: 2.0 + 12.0 * rows for rows in (1, 2, 4, 8, 16, 32)})
AFFINE = LatencyCurve({1: 4.1, 8: 4.8, 32: 7.2})
LANE = LaneView(idle=1, total=1, cap=32)


@pytest.mark.parametrize(
    ("waiting", "rate", "rows"),
    [
        (1, 0.0, 1),
        (10, 0.0, 2),  # about sqrt(2 n alpha / beta)
        (10, 0.06, 4),
        (30, 0.0, 3),
        (30, 0.078, 15),  # larger near saturation, but below the cap
    ],
)
def test_the_lot_has_the_least_total_waiting(waiting: int, rate: float, rows: int) -> None:
    """On a curve of 2 + 12 b; larger with a higher arrival rate."""
    queue = QueueView(waiting, 0.0, latency=CPU, arrivals=Arrivals(rate))
    made = LotPolicy().decide(0.5, queue, LANE)
    assert isinstance(made, Launch)
    assert abs(made.rows - rows) <= 1
    assert made.reason == ("idle" if made.rows == waiting else "lot")


#: Sixteen rows may be quicker than eight, because a warm-up has noise.
HOPEFUL = {8: 0.008, 16: 0.0161, 32: 0.04}


@pytest.mark.parametrize(
    ("queue", "lanes", "rows", "reason"),
    [
        (QueueView(20, 9.0), LANE, 16, "explore"),
        (QueueView(16, 9.0), LANE, 16, "explore"),
        (QueueView(15, 9.0), LANE, 8, "lot"),  # fewer rows wait,
        (QueueView(30, 9.0), replace(LANE, idle=2, total=2), 8, "lot"),  # for each lane
        (QueueView(20, 9.0), replace(LANE, cap=8), 8, "full"),
        (QueueView(20, 9.0, head_deadline=10.018), LANE, 16, "explore"),
        (QueueView(20, 9.0, head_deadline=10.017), LANE, 8, "lot"),  # it would be late
        (QueueView(20, 9.0, head_deadline=11.0, head_allowed=0.033), LANE, 16, "explore"),
        (QueueView(20, 9.0, head_deadline=11.0, head_allowed=0.032), LANE, 8, "lot"),  # two runs
    ],
)  # fmt: skip
def test_a_size_that_may_be_quicker_is_explored(
    queue: QueueView, lanes: LaneView, rows: int, reason: Reason
) -> None:
    """Once in 16 batches, unless its run would be too long for the deadline of the head."""
    latency = LatencyCurve(HOPEFUL)
    for _ in range(EXPLORATION_INTERVAL_BATCHES):
        made = LotPolicy().decide(10.0, replace(queue, latency=latency), lanes)
        assert isinstance(made, Launch)
        assert made.rows == 8
        latency.launched(8, explored=False)
    made = LotPolicy().decide(10.0, replace(queue, latency=latency), lanes)
    assert isinstance(made, Launch)
    assert (made.rows, made.reason) == (rows, reason)
    assert made.finish == pytest.approx(10.0 + latency.margin * latency.predict(rows))


def returning(
    rows: int, since: float, each: float, held: bool = False, deadline: float = inf
) -> QueueView:
    """Return the view of four waiting rows, and of *rows* rows of clients that return."""
    expected = Returning(rows, since, each, held)
    return QueueView(4, 9.0, deadline, latency=AFFINE, returning=expected)


LATEST = 10.0 + 1.1 * 4.1  #: the end of the run of a row that starts now


@pytest.mark.parametrize(
    ("queue", "decision"),
    [
        (returning(4, 10.0, 0.1), WaitUntil(11.2, "return-hold")),  # 1.5 times the usual
        (returning(4, 10.0, 0.0), WaitUntil(10.5, "return-hold")),  # at once: an eighth of 4 s
        (returning(4, 10.0, 0.4), WaitUntil(14.0, "return-hold")),  # no longer than it saves
        (returning(4, 10.0, 0.1, deadline=16.0), WaitUntil(10.72, "return-hold")),
        (returning(4, 8.0, 0.1), Launch(4, "idle", LATEST)),  # the clients are overdue
        (returning(4, 10.0, 0.5), Launch(4, "idle", LATEST)),  # costs more than it gains
        (returning(0, 10.0, 0.1, held=True), Launch(4, "return-hold", LATEST)),
        (returning(30, 10.0, 0.01), Launch(4, "idle", LATEST)),  # over the cap
        (replace(returning(4, 10.0, 0.1), draining=True), Launch(4, "drain", LATEST)),
    ],
)  # fmt: skip
def test_a_lane_waits_for_returning_clients(queue: QueueView, decision: Decision) -> None:
    """While that costs less than a shared run saves."""
    made = LotPolicy().decide(10.0, queue, LANE)
    assert type(made) is type(decision)
    if isinstance(made, WaitUntil) and isinstance(decision, WaitUntil):
        assert made.time == pytest.approx(decision.time)
        assert made.reason == decision.reason
    if isinstance(made, Launch) and isinstance(decision, Launch):
        assert (made.rows, made.reason) == (decision.rows, decision.reason)
        assert made.finish == pytest.approx(decision.finish, abs=0.01)


#: Above eight rows nothing is measured.
FEW_MEASURED = LatencyCurve({1: 4.0, 8: 4.8})


@pytest.mark.parametrize(("waiting", "rows"), [(8, 8), (9, 9), (16, 16), (40, 16)])
def test_a_size_that_is_far_from_all_measured_sizes_is_not_run(waiting: int, rows: int) -> None:
    """At most twice the largest one is."""
    made = LotPolicy().decide(10.0, QueueView(waiting, 9.0, latency=FEW_MEASURED), LANE)
    assert isinstance(made, Launch)
    assert made.rows == rows


@pytest.mark.parametrize(("deadline", "rows"), [(100.0, 4), (60.0, 4), (40.0, 2), (5.0, 1)])
def test_a_deadline_makes_a_batch_smaller(deadline: float, rows: int) -> None:
    """So that the head is in time, if all waiting rows would be launched."""
    queue = QueueView(4, -1000.0, latency=CPU, arrivals=Arrivals(1.0), head_deadline=deadline)
    made = LotPolicy().decide(0.0, queue, LANE)
    assert isinstance(made, Launch)
    assert made.rows == rows
    assert made.reason == ("idle" if deadline >= 60.0 else "deadline")


@pytest.mark.parametrize(
    ("now", "queue", "lanes", "decision"),
    [
        (5.0, QueueView(0, 0.0), ONE, Idle()),
        (5.0, QueueView(4, 5.0), BUSY, Idle()),
        (5.0, QueueView(4, 5.0), ONE, Launch(4, "full")),
        (5.0, QueueView(9, 5.0), TWO, Launch(4, "full")),
        (5.0, QueueView(3, 5.0), TWO, WaitUntil(15.0, "fixed")),
        (14.0, QueueView(3, 5.0), ONE, WaitUntil(15.0, "fixed")),
        (15.0, QueueView(3, 5.0), ONE, Launch(3, "fixed")),
        (19.0, QueueView(3, 5.0), ONE, Launch(3, "fixed")),
        (5.0, QueueView(3, 5.0, deadline=12.0), ONE, WaitUntil(8.0, "deadline")),  # 4 s before
        (8.0, QueueView(3, 5.0, deadline=12.0), ONE, Launch(3, "deadline")),
        (5.0, QueueView(3, 5.0, deadline=17.0), ONE, WaitUntil(13.0, "deadline")),
        (5.0, QueueView(3, 5.0, deadline=19.0), ONE, WaitUntil(15.0, "fixed")),  # just in time
        (5.0, QueueView(3, 5.0, deadline=6.0), ONE, Launch(3, "deadline")),  # too late already
        (5.0, QueueView(3, 5.0, draining=True), ONE, Launch(3, "drain")),
        (5.0, QueueView(5, 5.0, draining=True), ONE, Launch(4, "full")),
        (5.0, QueueView(3, 5.0), LOWERED, Launch(2, "full")),
    ],
)
def test_fixed(now: float, queue: QueueView, lanes: LaneView, decision: Decision) -> None:
    """Full, old, urgent and draining queues are launched; others get the time of their launch."""
    known = replace(queue, latency=LatencyCurve({1: 2.0, 3: 4.0}))
    assert FixedPolicy(4, 10.0).decide(now, known, lanes) == decision


@pytest.mark.parametrize(
    ("deadline", "decision"),
    [
        (12.0, Launch(3, "deadline")),
        (15.0, Launch(3, "deadline")),
        (16.0, WaitUntil(15.0, "fixed")),
        (inf, WaitUntil(15.0, "fixed")),
    ],
)
def test_fixed_without_a_latency_does_not_gamble_with_a_deadline(
    deadline: float, decision: Decision
) -> None:
    """A deadline within the delay launches at once while the time of a run is unknown."""
    policy = FixedPolicy(max_batch_size=4, max_queue_delay=10.0)
    assert policy.decide(5.0, QueueView(3, 5.0, deadline), ONE) == decision


def test_fixed_without_a_delay_never_waits() -> None:
    """As with TensorFlow Serving's batch_timeout_micros of 0."""
    assert FixedPolicy(4, 0.0).decide(5.0, QueueView(3, 5.0), TWO) == Launch(3, "fixed")


@pytest.mark.parametrize(("rows", "delay"), [(0, 1.0), (1, -1.0), (1, float("nan"))])
def test_fixed_refuses_invalid_settings(rows: int, delay: float) -> None:
    """When it is made, with both numbers."""
    with pytest.raises(ValueError, match=f"not {rows} rows and {delay} s"):
        FixedPolicy(rows, delay)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (LotPolicy(), "lot sizes by measured run times and arrivals"),
        (FixedPolicy(32, 0.0025), "waits up to 2.5 ms for 32 rows, or the cap if that is less"),
        (FixedPolicy(1, 0.0), "waits up to 0 ms for 1 rows, or the cap if that is less"),
    ],
)
def test_a_policy_has_a_text(policy: Policy, words: str) -> None:
    """For reports."""
    assert str(policy) == words
