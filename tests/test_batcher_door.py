"""What admission learns from those who were let in: batcher/admission.py, through the batcher."""

import pytest

from batcher.errors import DeadlineExceeded, Overloaded
from batcher.policy import LotPolicy
from tests.fakes.executor import Scene


def scene_of_slow_runs() -> Scene:
    """Return a scene of batches of one row, whose runs are known to take 4 s."""
    scene = Scene(cap=1, policy=LotPolicy())
    for _ in range(40):
        scene.latency.observe(1, 4.0)
    return scene


def probe(scene: Scene, name: str, allowed: float) -> None:
    """After a silence, let in one who allows so many seconds, and run it for 4 s."""
    scene.clock.advance(32.0)
    deadline = scene.clock.seconds() + allowed
    scene.batcher.admit(scene.queues[""], deadline=deadline)
    scene.submit(name, deadline=deadline)
    scene.clock.advance(4.0)
    scene.lane.current.finish()


def test_admission_grows_careful_when_those_let_in_come_too_late() -> None:
    """What was expected in time before is not any more, by a fifth for each late batch."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    margin = queue.margin
    scene.batcher.admit(queue, deadline=5.0)
    scene.submit("late", deadline=5.0)
    scene.clock.advance(6.0)
    scene.lane.current.finish()
    assert isinstance(scene.errors["late"], DeadlineExceeded)
    assert queue.margin > 1.05 * margin
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=scene.clock.seconds() + 4.5)
    for _ in range(600):
        scene.submit("slow", deadline=scene.clock.seconds() + 6.0)
        scene.clock.advance(4.0)
        scene.lane.current.finish()
    assert queue.admission_margin.factor == 1.0


def test_who_comes_after_a_long_silence_is_let_in_and_run() -> None:
    """However slow runs were believed to be: else nobody would ever show that they are not."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    scene.submit("slow")
    scene.clock.advance(4.0)
    scene.lane.current.finish()
    scene.clock.advance(24.0)
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=scene.clock.seconds() + 2.0)
    scene.clock.advance(16.0)
    scene.batcher.admit(queue, deadline=scene.clock.seconds() + 2.0)
    scene.submit("probe", deadline=scene.clock.seconds() + 2.0)
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=scene.clock.seconds() + 2.0)
    scene.clock.advance(1.0)
    scene.lane.current.finish()
    assert "probe" in scene.results


def test_who_was_let_in_against_all_expectation_teaches_no_caution() -> None:
    """One client's hopeless deadlines, after a silence each, cost nobody else his chance."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    for number in range(14):
        probe(scene, f"hopeless {number}", 1.0)
    assert len(scene.errors) == 14
    assert queue.admission_margin.factor == 1.0
    scene.batcher.admit(queue, deadline=scene.clock.seconds() + 5.0)


def test_caution_ends_soon_where_those_it_would_refuse_come_in_time() -> None:
    """An overload is over: each who comes after a silence takes back what one lateness did."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    for _ in range(20):
        queue.admission_margin.missed(scene.clock.seconds(), 1.0)
        scene.clock.advance(4.0)
    assert queue.admission_margin.factor == 4.0
    for number in range(7):
        probe(scene, f"probe {number}", 5.0)
    assert queue.admission_margin.factor < 1.2
    scene.batcher.admit(queue, deadline=scene.clock.seconds() + 5.0)


def test_one_probe_is_on_its_way_at_a_time() -> None:
    """However many heads come before its body; the next when its deadline is over."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    scene.clock.advance(32.0)
    scene.batcher.admit(queue, deadline=33.0)
    with pytest.raises(Overloaded):
        scene.batcher.admit(queue, deadline=33.5)
    scene.clock.advance(1.0)
    scene.batcher.admit(queue, deadline=34.0)


def test_a_probe_of_many_runs_tells_once_it_is_done() -> None:
    """And no more of it than any other: its first runs may be in time where its last is not."""
    scene = scene_of_slow_runs()
    queue = scene.queues[""]
    for _ in range(3):
        queue.admission_margin.missed(scene.clock.seconds(), 1.0)
        scene.clock.advance(4.0)
    before = queue.admission_margin.factor
    scene.clock.advance(32.0)
    deadline = scene.clock.seconds() + 7.0
    scene.batcher.admit(queue, deadline=deadline)
    scene.submit("probe", rows=3, deadline=deadline)
    factors = []
    for _ in range(3):
        scene.clock.advance(0.5)
        scene.lane.current.finish()
        factors.append(queue.admission_margin.factor)
    assert "probe" in scene.results
    assert factors == pytest.approx([before, before, before / 1.2])


def test_who_asked_for_too_much_teaches_no_caution() -> None:
    """A request of many rows is let in as if it had one: its lateness is its own doing."""
    scene = Scene(cap=2, policy=LotPolicy())
    scene.latency.observe(1, 4.0)
    queue = scene.queues[""]
    scene.submit("huge", rows=20, deadline=4.25)
    assert isinstance(scene.errors["huge"], DeadlineExceeded)
    assert queue.admission_margin.factor == 1.0
