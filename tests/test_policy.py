"""When a batch leaves, and with how many rows."""

from dataclasses import replace
from math import inf

import pytest

from batcher.latency import LatencyCurve
from batcher.policy import (
    Decision,
    FixedPolicy,
    Idle,
    LaneView,
    Launch,
    LotPolicy,
    QueueView,
    WaitUntil,
)

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
        (QueueView(5, 0.0), TWO, Launch(3, "idle")),  # shared, the odd row goes first
        (QueueView(1, 0.0), TWO, Launch(1, "idle")),
        (QueueView(8, 0.0), ONE, Launch(8, "full")),
        (QueueView(99, 0.0), TWO, Launch(8, "full")),
        (QueueView(5, 0.0, draining=True), ONE, Launch(5, "drain")),
        (QueueView(9, 0.0, draining=True), ONE, Launch(8, "full")),
        (QueueView(5, 0.0), LOWERED, Launch(2, "full")),
        (QueueView(5, 0.0, deadline=1.0), ONE, Launch(5, "idle")),
    ],
)
def test_greedy(queue: QueueView, lanes: LaneView, decision: Decision) -> None:
    """What is ready leaves at once, shared over the idle lanes."""
    assert LotPolicy().decide(100.0, queue, lanes) == decision


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
        (5.0, QueueView(3, 5.0, deadline=6.0), ONE, Launch(3, "deadline")),  # can only try
        (5.0, QueueView(3, 5.0, draining=True), ONE, Launch(3, "drain")),
        (5.0, QueueView(5, 5.0, draining=True), ONE, Launch(4, "full")),
        (5.0, QueueView(3, 5.0), LOWERED, Launch(2, "full")),
    ],
)
def test_fixed(now: float, queue: QueueView, lanes: LaneView, decision: Decision) -> None:
    """Full, old, urgent and draining queues leave; the others say when they will."""
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
    """A deadline within the delay leaves no room that is known to be enough: launch at once."""
    policy = FixedPolicy(max_batch_size=4, max_queue_delay=10.0)
    assert policy.decide(5.0, QueueView(3, 5.0, deadline), ONE) == decision


def test_fixed_without_a_delay_never_waits() -> None:
    """As TensorFlow Serving's batch_timeout_micros of 0."""
    assert FixedPolicy(4, 0.0).decide(5.0, QueueView(3, 5.0), TWO) == Launch(3, "fixed")


@pytest.mark.parametrize(("rows", "delay"), [(0, 1.0), (1, -1.0), (1, float("nan"))])
def test_fixed_refuses_numbers_that_mean_nothing(rows: int, delay: float) -> None:
    """At construction, naming both."""
    with pytest.raises(ValueError, match=f"no batch has {rows} rows or waits {delay} s"):
        FixedPolicy(rows, delay)
