"""What admission learns from admitted requests: batcher/admission.py, through the batcher."""

import pytest

from batcher.errors import DeadlineExceeded, Overloaded
from batcher.policy import LotPolicy
from tests.fakes.executor import ManualBatcher


def slow_batcher() -> ManualBatcher:
    """Return a batcher with a cap of one row, whose runs are known to take 4 s."""
    manual = ManualBatcher(cap=1, policy=LotPolicy())
    for _ in range(40):
        manual.latency.observe(1, 4.0)
    return manual


def override(manual: ManualBatcher, name: str, allowed: float) -> None:
    """After an idle time, admit a request with *allowed* seconds, and run it for 4 s."""
    manual.clock.advance(32.0)
    deadline = manual.clock.seconds() + allowed
    manual.admit(manual.queues[""], deadline=deadline)
    manual.submit(name, deadline=deadline)
    manual.clock.advance(4.0)
    manual.lane.current.finish()


def test_misses_raise_the_margin() -> None:
    """A request admitted before is refused then; the factor grows by a fifth per late batch."""
    manual = slow_batcher()
    queue = manual.queues[""]
    margin = queue.margin
    manual.admit(queue, deadline=5.0)
    manual.submit("late", deadline=5.0)
    manual.clock.advance(6.0)
    manual.lane.current.finish()
    assert isinstance(manual.errors["late"], DeadlineExceeded)
    assert queue.margin > 1.05 * margin
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=manual.clock.seconds() + 4.5)
    for _ in range(600):
        manual.submit("slow", deadline=manual.clock.seconds() + 6.0)
        manual.clock.advance(4.0)
        manual.lane.current.finish()
    assert queue.admission_margin.factor == 1.0


def test_a_request_after_a_long_idle_time_is_admitted() -> None:
    """Whatever the estimate is: else no run could correct it."""
    manual = slow_batcher()
    queue = manual.queues[""]
    manual.submit("slow")
    manual.clock.advance(4.0)
    manual.lane.current.finish()
    manual.clock.advance(24.0)
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=manual.clock.seconds() + 2.0)
    manual.clock.advance(16.0)
    manual.admit(queue, deadline=manual.clock.seconds() + 2.0)
    manual.submit("probe", deadline=manual.clock.seconds() + 2.0)
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=manual.clock.seconds() + 2.0)
    manual.clock.advance(1.0)
    manual.lane.current.finish()
    assert "probe" in manual.results


def test_a_miss_of_an_override_does_not_raise_the_margin() -> None:
    """Hopeless deadlines of one client do not affect others."""
    manual = slow_batcher()
    queue = manual.queues[""]
    for number in range(14):
        override(manual, f"hopeless {number}", 1.0)
    assert len(manual.errors) == 14
    assert queue.admission_margin.factor == 1.0
    manual.admit(queue, deadline=manual.clock.seconds() + 5.0)


def test_an_override_that_meets_its_deadline_lowers_the_margin() -> None:
    """After an overload, each takes back one miss."""
    manual = slow_batcher()
    queue = manual.queues[""]
    for _ in range(20):
        queue.admission_margin.missed(manual.clock.seconds(), 1.0)
        manual.clock.advance(4.0)
    assert queue.admission_margin.factor == 4.0
    for number in range(7):
        override(manual, f"probe {number}", 5.0)
    assert queue.admission_margin.factor < 1.2
    manual.admit(queue, deadline=manual.clock.seconds() + 5.0)


def test_one_override_at_a_time() -> None:
    """The next is possible after the deadline of the first."""
    manual = slow_batcher()
    queue = manual.queues[""]
    manual.clock.advance(32.0)
    manual.admit(queue, deadline=33.0)
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=33.5)
    manual.clock.advance(1.0)
    manual.admit(queue, deadline=34.0)


def test_an_override_of_several_runs_counts_when_all_are_done() -> None:
    """Its first runs may be in time and its last may be late."""
    manual = slow_batcher()
    queue = manual.queues[""]
    for _ in range(3):
        queue.admission_margin.missed(manual.clock.seconds(), 1.0)
        manual.clock.advance(4.0)
    before = queue.admission_margin.factor
    manual.clock.advance(32.0)
    deadline = manual.clock.seconds() + 7.0
    manual.admit(queue, deadline=deadline)
    manual.submit("probe", rows=3, deadline=deadline)
    factors = []
    for _ in range(3):
        manual.clock.advance(0.5)
        manual.lane.current.finish()
        factors.append(queue.admission_margin.factor)
    assert "probe" in manual.results
    assert factors == pytest.approx([before, before, before / 1.2])


def test_a_miss_of_a_request_over_the_cap_does_not_raise_the_margin() -> None:
    """Admission assumes one row: such a request may be late by itself."""
    manual = ManualBatcher(cap=2, policy=LotPolicy())
    manual.latency.observe(1, 4.0)
    queue = manual.queues[""]
    manual.submit("huge", rows=20, deadline=4.25)
    assert isinstance(manual.errors["huge"], DeadlineExceeded)
    assert queue.admission_margin.factor == 1.0
