"""What a batcher postpones: learning, and asking the policy again."""

from math import inf

import pytest

from batcher.policy import Decision, LaneView, LotPolicy, QueueView, WaitUntil
from tests.fakes.executor import ManualBatcher


def quicker_than_expected() -> ManualBatcher:
    """Return a batcher whose one run took 1 s, with an l(1) of 100 s."""
    manual = ManualBatcher(policy=LotPolicy())
    manual.latency.observe(1, 100.0)
    manual.submit("a")
    manual.clock.advance(1.0)
    manual.lane.current.finish()
    return manual


def test_a_run_is_learned_while_the_next_one_runs() -> None:
    """A client must not wait for the fit."""
    manual = quicker_than_expected()
    assert manual.latency.predict(1) == 100.0
    manual.submit("b")
    assert manual.latency.predict(1) < 100.0


def test_a_run_of_a_new_size_is_learned_at_once() -> None:
    """The next decision depends on it: unknown sizes are run, each twice the last."""
    manual = ManualBatcher(policy=LotPolicy(), limit=100)
    for name in "abcdefgh":
        manual.submit(name)
    for _ in range(3):
        manual.clock.advance(1.0)
        manual.lane.current.finish()
    assert [len(batches) for batches in manual.batches] == [1, 2, 4, 1]


def test_runs_that_end_at_once_are_learned_one_by_one() -> None:
    """A run is learned when the next one ends, at the latest."""
    queue = ManualBatcher().queues[""]
    for rows in (1, 2):
        queue.latency.observe(rows, 4.0)
    queue.record_run(1, 2.0, 0.0)
    assert queue.latency.fitted == {1: 4.0, 2: 4.0}
    queue.record_run(2, 4.0, 0.0)
    assert queue.latency.fitted[1] < 4.0
    assert queue.learn()
    assert not queue.learn()


def test_a_run_is_learned_before_a_refusal() -> None:
    """Else a wrong estimate could refuse every request."""
    manual = quicker_than_expected()
    manual.batcher.admit(manual.queues[""], deadline=manual.clock.seconds() + 90.0)
    assert manual.latency.predict(1) < 100.0


def test_a_report_learns_nothing() -> None:
    """It has what decisions are based on."""
    manual = quicker_than_expected()
    assert manual.report.queues[0].latency[1] == 100.0
    assert manual.latency.predict(1) == 100.0


class AskedPolicy:
    """A return-hold until 50 s, then for ever; records the rows of each call."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait on, and then for ever."""
        self.asked.append(queue.rows)
        return WaitUntil(50.0 if now < 50.0 else inf, "return-hold")


def holding() -> tuple[ManualBatcher, AskedPolicy]:
    """Return a batcher that expects three clients, of which the first has returned."""
    policy = AskedPolicy()
    manual = ManualBatcher(policy=policy)
    manual.queues[""].returns.answered([("a", 1), ("b", 2), ("c", 1)], 0.0)
    manual.submit("first", source="a", deadline=20.0)
    assert policy.asked == [1]
    return manual, policy


def test_a_policy_is_asked_again_when_all_are_back() -> None:
    """Not at the arrival of each awaited request."""
    manual, policy = holding()
    manual.submit("second", 2, source="b", deadline=21.0)
    assert policy.asked == [1]
    manual.submit("third", source="c")
    assert policy.asked == [1, 4]


@pytest.mark.parametrize(
    ("source", "rows", "deadline"),
    [
        ("stranger", 1, 30.0),
        ("b", 1, 30.0),  # with fewer rows than it had
        ("b", 2, 19.0),  # with less time than the first
    ],
)
def test_a_policy_is_asked_when_an_unexpected_request_arrives(
    source: str, rows: int, deadline: float
) -> None:
    """That is a change."""
    manual, policy = holding()
    manual.submit("other", rows, source=source, deadline=deadline)
    assert policy.asked == [1, 1 + rows]


def test_a_policy_is_asked_when_it_is_time() -> None:
    """It sees the requests that arrived meanwhile."""
    manual, policy = holding()
    manual.submit("second", 2, source="b")
    manual.clock.advance(10.0)
    assert policy.asked == [1]
    manual.clock.advance(10.0)  # the deadline of the first request
    assert policy.asked == [1, 2]
    manual.clock.advance(30.0)
    assert policy.asked == [1, 2, 2]
