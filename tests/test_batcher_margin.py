"""What admission learns from admitted requests: batcher/admission.py, through the batcher."""

import pytest

from batcher.errors import DeadlineExceeded, Overloaded
from batcher.learning.latency import LatencyCurve
from batcher.policy import FixedPolicy, LotPolicy
from batcher.queue import Queue
from tests.fakes.executor import ManualBatcher


def slow_batcher(seconds: float = 4.0, cap: int = 1) -> ManualBatcher:
    """Return a batcher with a cap of *cap* rows, whose runs are known to take *seconds*."""
    manual = ManualBatcher(policy=LotPolicy())
    measured = {1: seconds, cap: seconds} if seconds else {}
    manual.queues[""] = Queue(LatencyCurve(measured), cap, 64)
    return manual


def serve(manual: ManualBatcher, rows: int, allowed: float, *, waits: bool, early: bool) -> None:
    """
    Run a request of *rows* rows with *allowed* seconds; its run ends *early*, or too late.

    If it *waits*, another request is on the only lane when it arrives.
    """
    if waits:
        manual.submit("running", key="other")
    manual.submit("late", rows, deadline=manual.clock.seconds() + allowed)
    if waits:
        manual.lane.current.finish()
    while not manual.lane.runs[-1].ended:
        manual.clock.advance(0.8 * allowed if early else 2.0 * allowed)
        manual.lane.current.finish()


@pytest.mark.parametrize(
    ("seconds", "rows", "waits", "early", "factor"),
    [
        (4.0, 1, True, False, 1.5 * 1.2),
        (4.0, 1, False, False, 1.5),  # no estimate was used to admit it
        (4.0, 3, True, False, 1.5),  # over the cap: the estimate is for one row
        (0.0, 1, True, False, 1.5),  # no run of the queue was measured
        (4.0, 1, True, True, 1.5 * 1.2 ** (-0.005 * 0.2 / 0.05)),
        (4.0, 1, False, True, 1.5),
    ],
)
def test_only_requests_that_had_to_wait_teach_the_margin(
    seconds: float, rows: int, waits: bool, early: bool, factor: float
) -> None:
    """A miss raises it, and a batch that met its deadlines with little time left lowers it."""
    manual = slow_batcher(seconds)
    margin = manual.queues[""].admission_margin
    margin.factor = 1.5
    serve(manual, rows, 8.0, waits=waits, early=early)
    assert isinstance(manual.errors.get("late"), DeadlineExceeded) is not early
    assert margin.factor == pytest.approx(factor)


def test_a_cancelled_request_teaches_nothing() -> None:
    """Its client does not wait for the answer."""
    manual = slow_batcher()
    margin = manual.queues[""].admission_margin
    margin.factor = 1.5
    manual.submit("running", key="other")
    answer = manual.submit("cancelled", deadline=8.0)
    manual.lane.current.finish()
    answer.cancel()
    manual.clock.advance(6.0)
    manual.lane.current.finish()
    assert margin.factor == 1.5


def test_a_request_that_is_dropped_as_hopeless_counts_as_a_miss() -> None:
    """Its run would have ended too late: it was admitted, and the wait was too long."""
    manual = slow_batcher()
    manual.submit("running")
    manual.submit("hopeless", deadline=6.0)
    manual.submit("patient", deadline=60.0)
    manual.clock.advance(3.0)
    manual.lane.current.finish()
    error = manual.errors["hopeless"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (-3.0, "queue")
    assert str(error) == "dropped 3.0000 s before its deadline: its run would have ended too late"
    assert manual.batches[-1] == ["patient"]
    assert manual.queues[""].admission_margin.factor == 1.2


def test_misses_raise_the_margin_until_deadlines_are_met() -> None:
    """A request with as much time is refused then, and admitted again in the end."""
    manual = slow_batcher()
    queue = manual.queues[""]

    def admit() -> None:
        manual.admit(queue, deadline=manual.clock.seconds() + 4.75)

    manual.submit("running", key="other")
    admit()
    manual.lane.current.finish()
    serve(manual, 1, 6.0, waits=True, early=False)
    manual.submit("running", key="other")
    with pytest.raises(Overloaded):
        admit()
    manual.lane.current.finish()
    for _ in range(100):
        serve(manual, 1, 5.0, waits=True, early=True)
    manual.submit("running", key="other")
    admit()


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_an_idle_share_refuses_nothing(factor: float) -> None:
    """However wrong the estimate is: else no run could correct it."""
    manual = slow_batcher(cap=2)
    queue = manual.queues[""]
    queue.admission_margin.factor = factor
    manual.admit(queue, deadline=0.5)
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=0.5, ahead=1)
    answer = manual.submit("running")
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=0.5)
    answer.cancel()
    with pytest.raises(Overloaded):  # the lane still runs it
        manual.admit(queue, deadline=0.5)
    manual.clock.advance(4.0)
    manual.lane.current.finish()
    manual.admit(queue, deadline=manual.clock.seconds() + 0.5)
    queue.policy = FixedPolicy(max_batch_size=2, max_queue_delay=64.0)
    manual.submit("waits")
    with pytest.raises(Overloaded):  # beside an idle lane
        manual.admit(queue, deadline=manual.clock.seconds() + 0.5)
