"""What a batcher leaves until there is time for it: learning, and asking in vain."""

from math import inf

import pytest

from batcher.policy import Decision, LaneView, LotPolicy, QueueView, WaitUntil
from tests.support import Scene


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


def test_runs_that_end_at_once_are_learned_one_by_one() -> None:
    """Of two the first is learned when the second ends, at the latest."""
    profile = Scene().profiles[""]
    profile.ran(1, 2.0, 0.0)
    profile.ran(2, 3.0, 0.0)
    assert profile.latency.fitted == {1: 2.0}
    assert profile.learn()
    assert profile.latency.fitted == {1: 2.0, 2: 3.0}
    assert not profile.learn()


def test_a_run_is_learned_before_anybody_is_refused() -> None:
    """Else nobody would ever show that what is believed has become wrong."""
    scene = quicker_than_believed()
    scene.batcher.admit(scene.profiles[""], deadline=scene.clock.seconds() + 90.0)
    assert scene.latency.predict(1) < 100.0


def test_a_run_is_learned_before_it_is_reported() -> None:
    """A report tells all that is known."""
    scene = quicker_than_believed()
    assert scene.batcher.report().queues[0].latency[1] < 100.0


class AskedPolicy:
    """Waits for 4 rows, and remembers how many there were when it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait on."""
        self.asked.append(queue.rows)
        return WaitUntil(50.0 if now < 50.0 else inf, "return-hold", 4, queue.deadline)


@pytest.mark.parametrize(("deadline", "asked"), [(20.0, [1, 4, 5]), (19.0, [1, 2, 4, 5])])
def test_a_policy_that_waits_is_not_asked_in_vain(deadline: float, asked: list[int]) -> None:
    """Only when as many have come as it waits for, or one who has less time."""
    policy = AskedPolicy()
    scene = Scene(policy=policy)
    scene.submit("a", deadline=20.0)
    scene.submit("b", deadline=deadline)
    scene.submit("c", deadline=30.0)
    scene.submit("d")
    scene.submit("e")
    assert policy.asked == asked


def test_a_policy_that_waits_is_asked_when_it_is_time() -> None:
    """Whoever came meanwhile is seen then."""
    policy = AskedPolicy()
    scene = Scene(policy=policy)
    scene.submit("a")
    scene.submit("b")
    scene.clock.advance(50.0)
    assert policy.asked == [1, 2]
