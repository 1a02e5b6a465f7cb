"""Priorities, and runs that hang."""

from collections import Counter
from collections.abc import Iterable

import pytest

from batcher.errors import RunHung
from batcher.policy import FixedPolicy, LotPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from tests.fakes.executor import ManualBatcher, all_rows


def priorities(names: Iterable[str]) -> Counter[str]:
    """Return how often each first word occurs in *names*."""
    return Counter(name.split()[0] for name in names)


def test_priorities_are_launched_by_their_shares() -> None:
    """Of 21 rows 16, 4 and 1, give or take one, while all wait; in order within each."""
    manual = ManualBatcher(cap=21, limit=200)
    manual.submit("running")
    for number in range(30):
        for priority in Priority:
            manual.submit(f"{priority.name} {number:02}", priority=priority)
    manual.lane.current.finish()
    launched = manual.batches[-1]
    rows = priorities(launched)
    assert all(abs(rows[level] - due) <= 1 for level, due in (("HIGH", 16), ("NORMAL", 4)))
    assert rows["LOW"] == 1
    for priority in Priority:
        own = [name for name in launched if name.startswith(priority.name)]
        assert own == sorted(own)


@pytest.mark.parametrize("cap", [1, 4, 16, 17])
def test_a_flood_in_another_queue_starves_no_priority(cap: int) -> None:
    """Low rows that fill its batches do not use the turn of a low row in another queue."""
    manual = ManualBatcher(cap=cap, limit=10_000)
    manual.submit("running")
    manual.submit("low", key="lone", priority=Priority.LOW)
    runs = 0
    while "low" not in manual.batches[-1]:
        for number in range(cap):
            manual.submit(f"{runs} {number}", key="busy", priority=Priority.HIGH)
            manual.submit(f"{runs} {number} low", key="busy", priority=Priority.LOW)
        manual.lane.current.finish()
        runs += 1
        assert (runs - 1) * cap <= 16 + cap


@pytest.mark.parametrize("follower", [Priority.LOW, Priority.HIGH])
def test_a_dropped_request_leaves_its_turn_to_the_next_of_its_priority(follower: Priority) -> None:
    """A lower or later request of the same queue does not get that turn."""
    manual = ManualBatcher(cap=1, policy=LotPolicy())
    manual.latency.observe(1, 4.0)
    manual.submit("running")
    manual.submit("hopeless", key="other", priority=Priority.HIGH, deadline=6.0)
    manual.submit("next", priority=Priority.HIGH)
    manual.submit("follower", key="other", priority=follower)
    manual.clock.advance(3.0)
    manual.lane.current.finish()
    assert list(manual.errors) == ["hopeless"]
    assert manual.batches[-1] == ["next"]


def test_a_level_that_was_held_has_no_claim_on_past_turns() -> None:
    """Rows that were launched while its queue waited are not charged to later requests."""
    manual = ManualBatcher(policy=FixedPolicy(max_batch_size=4, max_queue_delay=8.0), limit=1000)
    manual.queues["alone"] = Queue(manual.latency, 1, 1000)
    manual.submit("held")
    for number in range(20):
        manual.submit(f"low {number}", key="alone", priority=Priority.LOW)
    for number in range(20):
        if number == 19:
            for each in range(40):
                manual.submit(f"normal {each}", key="alone")
                manual.submit(f"high {each}", key="alone", priority=Priority.HIGH)
        manual.lane.current.finish()
    for _ in range(20):
        manual.lane.current.finish()
    rows = priorities(batch[0] for batch in manual.batches[20:40])
    assert 15 <= rows["high"] <= 17
    assert 3 <= rows["normal"] <= 5


def test_a_level_that_was_empty_has_no_claim_on_past_turns() -> None:
    """After 50 normal rows, high rows are not all launched before a normal one."""
    manual = ManualBatcher(cap=1, limit=1000)
    for number in range(50):
        manual.submit(f"early {number}")
        manual.lane.current.finish()
    manual.submit("running")
    for number in range(40):
        manual.submit(f"high {number}", priority=Priority.HIGH)
    manual.submit("normal")
    for _ in range(19):
        manual.lane.current.finish()
    assert "normal" in manual.results


@pytest.mark.parametrize(
    ("expected", "limit"),
    [(0.0, 30.0), (2.0, 30.0), (5.0, 50.0)],  # ten times the expected time, if that is longer
)
def test_a_run_that_hangs_is_given_up_and_its_lane_used_again_when_it_ends(
    expected: float, limit: float
) -> None:
    """All requests fail, new ones are refused, and no Deferred fires twice."""
    manual = ManualBatcher(run_timeout=30.0)
    if expected:
        manual.latency.observe(1, expected)
    manual.submit("running")
    manual.submit("waiting")
    manual.clock.advance(limit - 1.0)
    assert (manual.batcher.hung, manual.batcher.stats().hung) == ([], 0)
    manual.clock.advance(1.0)
    assert (manual.batcher.hung, manual.batcher.stats().hung) == ([""], 1)
    manual.submit("late")
    assert [(name, type(end)) for name, end in manual.errors.items()] == [
        ("running", RunHung),
        ("waiting", RunHung),
        ("late", RunHung),
    ]
    assert str(manual.errors["running"]) == (
        f"a run of the model has not ended within {limit:.0f} s"
    )
    with pytest.raises(RunHung):
        manual.admit(manual.queues[""], deadline=100.0)
    manual.lane.current.finish()
    assert manual.batcher.stats().hung == 0
    manual.submit("after")
    manual.lane.current.finish()
    assert manual.results == {"after": all_rows("after")}
    assert manual.ended == ["running", "waiting", "late", "after"]


def test_other_lanes_go_on_beside_one_that_hangs() -> None:
    """Only the requests of its own run fail; a drain does not wait for it."""
    manual = ManualBatcher(lanes=2, run_timeout=30.0, cap=1)
    manual.submit("hangs")
    manual.clock.advance(29.0)
    manual.submit("fine")
    manual.submit("waiting")
    manual.clock.advance(1.0)
    assert list(manual.errors) == ["hangs"]
    manual.lanes[1].current.finish()
    manual.lanes[1].current.finish()
    manual.latency.observe(1, 90.0)
    manual.admit(manual.queues[""], deadline=31.0)  # the run that was given up is no work
    manual.submit("again")
    manual.submit("last")
    drained = manual.drained()
    manual.lanes[1].current.finish()
    assert drained == []
    manual.lanes[1].current.finish()
    assert set(manual.results) == {"fine", "waiting", "again", "last"}
    assert manual.batcher.stats().hung == 1
    assert drained == [None]
