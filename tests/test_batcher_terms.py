"""Priorities, deadlines that cannot be met, admission, and runs that hang."""

from collections import Counter

import pytest

from batcher.errors import DeadlineExceeded, Overloaded, RunHung, ShuttingDown
from batcher.policy import FixedPolicy, LotPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from tests.fakes.executor import Scene, whole


def test_priorities_leave_by_their_shares() -> None:
    """Of 21 rows 16, 4 and 1, give or take one, where all wait; in order within each."""
    scene = Scene(cap=21, limit=200)
    scene.submit("running")
    for number in range(30):
        for priority in Priority:
            scene.submit(f"{priority.name} {number:02}", priority=priority)
    scene.lane.current.finish()
    riders = scene.riders[-1]
    left = Counter(name.split()[0] for name in riders)
    assert all(abs(left[level] - due) <= 1 for level, due in (("HIGH", 16), ("NORMAL", 4)))
    assert left["LOW"] == 1
    for priority in Priority:
        own = [name for name in riders if name.startswith(priority.name)]
        assert own == sorted(own)


def test_a_flood_of_the_highest_does_not_starve_the_lowest() -> None:
    """However many keep coming, a low row is among the next 17."""
    scene = Scene(cap=1, limit=1000)
    scene.submit("running")
    scene.submit("low", priority=Priority.LOW)
    for number in range(40):
        scene.submit(f"high {number}", priority=Priority.HIGH)
    for _ in range(18):
        scene.lane.current.finish()
    assert "low" in scene.results


@pytest.mark.parametrize("cap", [4, 8, 16, 17, 21])
def test_a_flood_of_another_kind_of_run_starves_nobody_of_its_priorities(cap: int) -> None:
    """The low rows that ride in its batches are no turn of the one that waits for another run."""
    scene = Scene(cap=cap, limit=10_000)
    scene.submit("running")
    scene.submit("low", key="lone", priority=Priority.LOW)
    runs = 0
    while "low" not in scene.riders[-1]:
        for number in range(cap):
            scene.submit(f"{runs} {number}", key="busy", priority=Priority.HIGH)
            scene.submit(f"{runs} {number} low", key="busy", priority=Priority.LOW)
        scene.lane.current.finish()
        runs += 1
        assert (runs - 1) * cap <= 16 + cap


@pytest.mark.parametrize("follower", [Priority.LOW, Priority.HIGH])
def test_who_is_dropped_leaves_his_turn_to_the_next_of_his_priority(follower: Priority) -> None:
    """Nobody who is lower, or came later, slips in because he waits for the same kind of run."""
    scene = Scene(cap=1, policy=LotPolicy())
    scene.latency.observe(1, 4.0)
    scene.submit("running")
    scene.submit("hopeless", key="other", priority=Priority.HIGH, deadline=6.0)
    scene.submit("next", priority=Priority.HIGH)
    scene.submit("follower", key="other", priority=follower)
    scene.clock.advance(3.0)
    scene.lane.current.finish()
    assert list(scene.errors) == ["hopeless"]
    assert scene.riders[-1] == ["next"]


def test_a_level_that_waited_for_company_has_no_claim_on_the_past() -> None:
    """What left beside it, while it had not wanted to, is no debt of those who come later."""
    scene = Scene(policy=FixedPolicy(max_batch_size=4, max_queue_delay=8.0), limit=1000)
    scene.queues["alone"] = Queue(scene.latency, 1, 1000)
    scene.submit("waits for company")
    for number in range(20):
        scene.submit(f"low {number}", key="alone", priority=Priority.LOW)
    for number in range(20):
        if number == 19:
            for each in range(40):
                scene.submit(f"normal {each}", key="alone")
                scene.submit(f"high {each}", key="alone", priority=Priority.HIGH)
        scene.lane.current.finish()
    for _ in range(20):
        scene.lane.current.finish()
    left = Counter(riders[0].split()[0] for riders in scene.riders[20:40])
    assert 15 <= left["high"] <= 17
    assert 3 <= left["normal"] <= 5


def test_a_level_that_was_away_has_no_claim_on_the_past() -> None:
    """After 50 normal rows, high ones do not leave all at once before a normal one."""
    scene = Scene(cap=1, limit=1000)
    for number in range(50):
        scene.submit(f"early {number}")
        scene.lane.current.finish()
    scene.submit("running")
    for number in range(40):
        scene.submit(f"high {number}", priority=Priority.HIGH)
    scene.submit("normal")
    for _ in range(19):
        scene.lane.current.finish()
    assert "normal" in scene.results


def test_who_would_be_late_is_dropped_and_leaves_the_place_to_others() -> None:
    """A run of 4 s and its margin do not fit into 3 s."""
    scene = Scene(cap=1, policy=LotPolicy())
    scene.latency.observe(1, 4.0)
    scene.submit("running")
    scene.submit("hopeless", deadline=6.0)
    scene.submit("patient", deadline=60.0)
    scene.clock.advance(3.0)
    scene.lane.current.finish()
    error = scene.errors["hopeless"]
    assert isinstance(error, DeadlineExceeded)
    assert (error.late, error.stage) == (-3.0, "queue")
    assert str(error) == "dropped 3.0000 s before its deadline: its run would have ended too late"
    assert scene.riders[-1] == ["patient"]


def test_admission_foretells_the_wait() -> None:
    """The run under way, those before it, its own; times the margin."""
    scene = Scene(cap=1, policy=LotPolicy())
    for _ in range(40):
        scene.latency.observe(1, 4.0)
    queue = scene.queues[""]
    scene.batcher.admit(queue, deadline=5.0)
    scene.submit("running")
    scene.submit("waiting")
    scene.clock.advance(1.0)
    with pytest.raises(Overloaded) as refused:
        scene.batcher.admit(queue, deadline=11.0)
    assert refused.value.wait == pytest.approx(1.1 * (3.0 + 4.0 + 4.0))
    assert refused.value.retry_after == pytest.approx(1.1 * 11.0 - 10.0)
    scene.batcher.admit(queue, deadline=14.0)
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=14.0, ahead=1)


def test_a_higher_priority_is_admitted_past_a_long_queue() -> None:
    """It waits for its share alone."""
    scene = Scene(cap=1, policy=LotPolicy())
    scene.latency.observe(1, 4.0)
    scene.submit("running")
    for number in range(20):
        scene.submit(str(number), priority=Priority.LOW)
    queue = scene.queues[""]
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=30.0, priority=Priority.LOW)
    scene.batcher.admit(queue, deadline=30.0, priority=Priority.HIGH)


def test_a_run_that_hangs_is_given_up_and_its_lane_used_again_when_it_ends() -> None:
    """Its rider and who waits are told, nobody else is taken in, and nothing fires twice."""
    scene = Scene(run_timeout=30.0)
    scene.submit("rider")
    scene.submit("waiting")
    scene.clock.advance(29.0)
    assert scene.batcher.stats().hung == 0
    scene.clock.advance(1.0)
    assert scene.batcher.hung
    assert scene.batcher.stats().hung == 1
    assert [type(scene.errors[name]) for name in ("rider", "waiting")] == [RunHung, RunHung]
    scene.submit("late")
    assert isinstance(scene.errors["late"], RunHung)
    with pytest.raises(RunHung):
        scene.batcher.admit(scene.queues[""], deadline=100.0)
    scene.lane.current.finish()
    assert scene.batcher.stats().hung == 0
    scene.submit("after")
    scene.lane.current.finish()
    assert scene.results == {"after": whole("after")}
    assert scene.ended == ["rider", "waiting", "late", "after"]


def test_other_lanes_go_on_beside_one_that_hangs() -> None:
    """Only its own rider is told."""
    scene = Scene(lanes=2, run_timeout=30.0, cap=1)
    scene.submit("hangs")
    scene.clock.advance(29.0)
    scene.submit("fine")
    scene.submit("waiting")
    scene.clock.advance(1.0)
    assert list(scene.errors) == ["hangs"]
    scene.lanes[1].current.finish()
    scene.lanes[1].current.finish()
    assert set(scene.results) == {"fine", "waiting"}
    assert scene.batcher.stats().hung == 1


def test_a_long_run_may_take_ten_times_as_long_as_expected() -> None:
    """Where that is more than the least patience."""
    scene = Scene(run_timeout=30.0)
    scene.latency.observe(1, 5.0)
    scene.submit("slow")
    scene.clock.advance(49.0)
    assert scene.batcher.stats().hung == 0
    scene.clock.advance(1.0)
    assert scene.batcher.hung
    assert scene.batcher.stats().hung == 1


def test_a_drain_does_not_wait_for_a_run_that_hangs() -> None:
    """Its rider has been told; nobody is owed an answer."""
    scene = Scene(run_timeout=30.0)
    scene.submit("hangs")
    drained = scene.batcher.drain()
    assert not drained.called
    with pytest.raises(ShuttingDown):
        scene.batcher.admit(scene.queues[""], deadline=100.0)
    scene.clock.advance(30.0)
    assert drained.called


def test_clients_who_come_back_ride_together() -> None:
    """Two who took turns share each run once the batcher has seen how soon they are back."""
    scene = Scene(policy=LotPolicy(), limit=10_000)
    for rows in (1, 2, 4, 8):
        scene.latency.observe(rows, 4.0 + 0.1 * rows)
    last = {client: scene.submit(f"{client} 0", source=client) for client in "ab"}
    for turn in range(1, 20):
        scene.clock.advance(4.0)
        scene.lane.current.finish()
        for client, answer in last.items():
            if answer.called:
                scene.clock.advance(0.01)
                last[client] = scene.submit(f"{client} {turn}", source=client)
    assert all(len(riders) == 2 for riders in scene.riders[-5:])


def returning(lanes: int = 1) -> Scene:
    """Return a batcher that expects its client back in no time, and would save a run by it."""
    scene = Scene(policy=LotPolicy(), lanes=lanes)
    for rows in (1, 8):
        scene.latency.observe(rows, 8.0)
    for _ in range(3):
        scene.queues[""].returns.answered([("client", 1)], 0.0)
        scene.queues[""].returns.observe("client", 1, 0.0)
    return scene


def test_nobody_waits_for_a_client_whose_request_is_half_run() -> None:
    """It cannot come back before it is answered."""
    scene = returning(lanes=2)
    scene.submit("a", 4, source="client")
    scene.lanes[0].current.finish()
    scene.submit("b")
    assert scene.lanes[0].current.pieces == [("b", 0, 1)]


def test_nobody_waits_for_a_client_that_hung_up() -> None:
    """Its run ended, and it heard nothing of it."""
    scene = returning()
    answer = scene.submit("a", source="client")
    answer.cancel()
    scene.lane.current.finish()
    scene.submit("b")
    assert scene.riders[-1] == ["b"]


def test_the_report_tells_why() -> None:
    """The last batches with their reasons, and what is known of their kind of run."""
    scene = Scene(policy=LotPolicy())
    scene.submit("a")
    scene.clock.advance(2.0)
    scene.lane.current.finish()
    scene.submit("b")
    scene.submit("c", priority=Priority.LOW)
    report = scene.batcher.report()
    assert [(run.rows, run.reason, run.seconds) for run in report.runs] == [
        (1, "idle", None),
        (1, "idle", 2.0),
    ]
    (queue,) = report.queues
    assert queue.rows == {"high": 0, "normal": 0, "low": 1}
    assert queue.latency == {1: pytest.approx(2.0)}
