"""What a batcher leaves until there is time for it: learning, and asking in vain."""

from math import inf

import pytest

from batcher.policy import Decision, LaneView, LotPolicy, QueueView, WaitUntil
from tests.fakes.executor import Scene


def quicker_than_believed() -> Scene:
    """Return a batcher whose one run took a second, and which believed in a hundred."""
    scene = Scene(policy=LotPolicy())
    scene.latency.observe(1, 100.0)
    scene.submit("a")
    scene.clock.advance(1.0)
    scene.lane.current.finish()
    return scene


def test_a_run_is_learned_while_the_next_one_runs() -> None:
    """Whoever comes back is not to wait for that."""
    scene = quicker_than_believed()
    assert scene.latency.predict(1) == 100.0
    scene.submit("b")
    assert scene.latency.predict(1) < 100.0


def test_a_run_of_a_new_size_is_learned_at_once() -> None:
    """The next decision hangs on it: what never ran is tried, each twice the last."""
    scene = Scene(policy=LotPolicy(), limit=100)
    for name in "abcdefgh":
        scene.submit(name)
    for _ in range(3):
        scene.clock.advance(1.0)
        scene.lane.current.finish()
    assert [len(riders) for riders in scene.riders] == [1, 2, 4, 1]


def test_runs_that_end_at_once_are_learned_one_by_one() -> None:
    """Of two the first is learned when the second ends, at the latest."""
    queue = Scene().queues[""]
    for rows in (1, 2):
        queue.latency.observe(rows, 4.0)
    queue.record_run(1, 2.0, 0.0)
    assert queue.latency.fitted == {1: 4.0, 2: 4.0}
    queue.record_run(2, 4.0, 0.0)
    assert queue.latency.fitted[1] < 4.0
    assert queue.learn()
    assert not queue.learn()


def test_a_run_is_learned_before_anybody_is_refused() -> None:
    """Else nobody would ever show that what is believed has become wrong."""
    scene = quicker_than_believed()
    scene.batcher.admit(scene.queues[""], deadline=scene.clock.seconds() + 90.0)
    assert scene.latency.predict(1) < 100.0


def test_a_run_is_learned_before_it_is_reported() -> None:
    """A report tells all that is known."""
    scene = quicker_than_believed()
    assert scene.batcher.report().queues[0].latency[1] < 100.0


class AskedPolicy:
    """Waits until 50 s for who comes back, and remembers of how many rows it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait on, and then for ever."""
        self.asked.append(queue.rows)
        return WaitUntil(50.0 if now < 50.0 else inf, "return-hold")


def holding() -> tuple[Scene, AskedPolicy]:
    """Return a batcher where three clients are to come back, and the first is."""
    policy = AskedPolicy()
    scene = Scene(policy=policy)
    scene.queues[""].returns.answered([("a", 1), ("b", 2), ("c", 1)], 0.0)
    scene.submit("first", source="a", deadline=20.0)
    assert policy.asked == [1]
    return scene, policy


def test_a_policy_is_asked_again_when_all_are_back() -> None:
    """Not with each of those whom it waits for."""
    scene, policy = holding()
    scene.submit("second", 2, source="b", deadline=21.0)
    assert policy.asked == [1]
    scene.submit("third", source="c")
    assert policy.asked == [1, 4]


@pytest.mark.parametrize(
    ("source", "rows", "deadline"),
    [
        ("stranger", 1, 30.0),
        ("b", 1, 30.0),  # with fewer rows than it had
        ("b", 2, 19.0),  # with less time than the first
    ],
)
def test_a_policy_is_asked_when_another_comes_than_it_waits_for(
    source: str, rows: int, deadline: float
) -> None:
    """Then something has changed."""
    scene, policy = holding()
    scene.submit("other", rows, source=source, deadline=deadline)
    assert policy.asked == [1, 1 + rows]


def test_a_policy_is_asked_when_it_is_time() -> None:
    """Whoever came meanwhile is seen then."""
    scene, policy = holding()
    scene.submit("second", 2, source="b")
    scene.clock.advance(10.0)
    assert policy.asked == [1]
    scene.clock.advance(10.0)  # the first one's time is over
    assert policy.asked == [1, 2]
    scene.clock.advance(30.0)
    assert policy.asked == [1, 2, 2]
