"""Priorities, deadlines that cannot be met, admission, and runs that hang."""

from collections import Counter

import pytest

from batcher.errors import DeadlineExceeded, Overloaded, RunHung, ShuttingDown
from batcher.policy import FixedPolicy, LotPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from tests.fakes.executor import ManualBatcher, all_rows


def test_priorities_are_launched_by_their_shares() -> None:
    """Of 21 rows 16, 4 and 1, give or take one, while all wait; in order within each."""
    manual = ManualBatcher(cap=21, limit=200)
    manual.submit("running")
    for number in range(30):
        for priority in Priority:
            manual.submit(f"{priority.name} {number:02}", priority=priority)
    manual.lane.current.finish()
    batches = manual.batches[-1]
    left = Counter(name.split()[0] for name in batches)
    assert all(abs(left[level] - due) <= 1 for level, due in (("HIGH", 16), ("NORMAL", 4)))
    assert left["LOW"] == 1
    for priority in Priority:
        own = [name for name in batches if name.startswith(priority.name)]
        assert own == sorted(own)


def test_a_flood_of_the_highest_does_not_starve_the_lowest() -> None:
    """A low row is among the next 17, whatever arrives."""
    manual = ManualBatcher(cap=1, limit=1000)
    manual.submit("running")
    manual.submit("low", priority=Priority.LOW)
    for number in range(40):
        manual.submit(f"high {number}", priority=Priority.HIGH)
    for _ in range(18):
        manual.lane.current.finish()
    assert "low" in manual.results


@pytest.mark.parametrize("cap", [4, 8, 16, 17, 21])
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
    left = Counter(batches[0].split()[0] for batches in manual.batches[20:40])
    assert 15 <= left["high"] <= 17
    assert 3 <= left["normal"] <= 5


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


def test_a_request_that_would_be_late_is_dropped() -> None:
    """A run of 4 s and its margin do not fit into 3 s; the next request is launched."""
    manual = ManualBatcher(cap=1, policy=LotPolicy())
    manual.latency.observe(1, 4.0)
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


def test_admission_estimates_the_wait() -> None:
    """The run under way, the runs before it, and its own; times the margin."""
    manual = ManualBatcher(cap=1, policy=LotPolicy())
    for _ in range(40):
        manual.latency.observe(1, 4.0)
    queue = manual.queues[""]
    manual.admit(queue, deadline=5.0)
    manual.submit("running")
    manual.submit("waiting")
    manual.clock.advance(1.0)
    with pytest.raises(Overloaded) as refused:
        manual.admit(queue, deadline=11.0)
    assert refused.value.wait == pytest.approx(1.1 * (3.0 + 4.0 + 4.0))
    assert refused.value.retry_after == pytest.approx(1.1 * 11.0 - 10.0)
    manual.admit(queue, deadline=14.0)
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=14.0, ahead=1)


def test_a_higher_priority_is_admitted_past_a_long_queue() -> None:
    """It waits for its share only."""
    manual = ManualBatcher(cap=1, policy=LotPolicy())
    manual.latency.observe(1, 4.0)
    manual.submit("running")
    for number in range(20):
        manual.submit(str(number), priority=Priority.LOW)
    queue = manual.queues[""]
    with pytest.raises(Overloaded):
        manual.admit(queue, deadline=30.0, priority=Priority.LOW)
    manual.admit(queue, deadline=30.0, priority=Priority.HIGH)


def test_a_run_that_hangs_is_given_up_and_its_lane_used_again_when_it_ends() -> None:
    """All requests fail, new ones are refused, and no Deferred fires twice."""
    manual = ManualBatcher(run_timeout=30.0)
    manual.submit("running")
    manual.submit("waiting")
    manual.clock.advance(29.0)
    assert manual.batcher.stats().hung == 0
    manual.clock.advance(1.0)
    assert manual.batcher.hung
    assert manual.batcher.stats().hung == 1
    assert [type(manual.errors[name]) for name in ("running", "waiting")] == [RunHung, RunHung]
    manual.submit("late")
    assert isinstance(manual.errors["late"], RunHung)
    with pytest.raises(RunHung):
        manual.admit(manual.queues[""], deadline=100.0)
    manual.lane.current.finish()
    assert manual.batcher.stats().hung == 0
    manual.submit("after")
    manual.lane.current.finish()
    assert manual.results == {"after": all_rows("after")}
    assert manual.ended == ["running", "waiting", "late", "after"]


def test_other_lanes_go_on_beside_one_that_hangs() -> None:
    """Only the requests of its own run fail."""
    manual = ManualBatcher(lanes=2, run_timeout=30.0, cap=1)
    manual.submit("hangs")
    manual.clock.advance(29.0)
    manual.submit("fine")
    manual.submit("waiting")
    manual.clock.advance(1.0)
    assert list(manual.errors) == ["hangs"]
    manual.lanes[1].current.finish()
    manual.lanes[1].current.finish()
    assert set(manual.results) == {"fine", "waiting"}
    assert manual.batcher.stats().hung == 1


def test_a_long_run_may_take_ten_times_as_long_as_expected() -> None:
    """If that is more than the timeout."""
    manual = ManualBatcher(run_timeout=30.0)
    manual.latency.observe(1, 5.0)
    manual.submit("slow")
    manual.clock.advance(49.0)
    assert manual.batcher.stats().hung == 0
    manual.clock.advance(1.0)
    assert manual.batcher.hung
    assert manual.batcher.stats().hung == 1


def test_a_drain_does_not_wait_for_a_run_that_hangs() -> None:
    """Its requests have failed already."""
    manual = ManualBatcher(run_timeout=30.0)
    manual.submit("hangs")
    drained = manual.batcher.drain()
    assert not drained.called
    with pytest.raises(ShuttingDown):
        manual.admit(manual.queues[""], deadline=100.0)
    manual.clock.advance(30.0)
    assert drained.called


def test_returning_clients_share_a_run() -> None:
    """Once the batcher has learned how soon two clients return."""
    manual = ManualBatcher(policy=LotPolicy(), limit=10_000)
    for rows in (1, 2, 4, 8):
        manual.latency.observe(rows, 4.0 + 0.1 * rows)
    last = {client: manual.submit(f"{client} 0", source=client) for client in "ab"}
    for turn in range(1, 20):
        manual.clock.advance(4.0)
        manual.lane.current.finish()
        for client, answer in last.items():
            if answer.called:
                manual.clock.advance(0.01)
                last[client] = manual.submit(f"{client} {turn}", source=client)
    assert all(len(batches) == 2 for batches in manual.batches[-5:])


def returning(lanes: int = 1) -> ManualBatcher:
    """Return a batcher that expects its client back at once, which would save a run."""
    manual = ManualBatcher(policy=LotPolicy(), lanes=lanes)
    for rows in (1, 8):
        manual.latency.observe(rows, 8.0)
    for _ in range(3):
        manual.queues[""].returns.answered([("client", 1)], 0.0)
        manual.queues[""].returns.observe("client", 1, 0.0)
    return manual


def test_no_hold_for_a_client_whose_request_is_half_run() -> None:
    """It cannot return before it is answered."""
    manual = returning(lanes=2)
    manual.submit("a", 4, source="client")
    manual.lanes[0].current.finish()
    manual.submit("b")
    assert manual.lanes[0].current.pieces == [("b", 0, 1)]


def test_no_hold_for_a_client_that_cancelled() -> None:
    """It got no answer of that run."""
    manual = returning()
    answer = manual.submit("a", source="client")
    answer.cancel()
    manual.lane.current.finish()
    manual.submit("b")
    assert manual.batches[-1] == ["b"]


def test_the_report_has_the_reasons() -> None:
    """The last runs with their reasons, and the state of their queue."""
    manual = ManualBatcher(policy=LotPolicy())
    manual.submit("a")
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    manual.submit("b")
    manual.submit("c", priority=Priority.LOW)
    report = manual.report
    assert [(run.rows, run.reason, run.seconds) for run in report.runs] == [
        (1, "idle", None),
        (1, "idle", 2.0),
    ]
    (queue,) = report.queues
    assert queue.rows == {"high": 0, "normal": 0, "low": 1}
    assert queue.latency == {1: pytest.approx(2.0)}
