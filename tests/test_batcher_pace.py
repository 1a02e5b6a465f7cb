"""What a batcher postpones: learning, and asking the policy again."""

from math import inf

import pytest

from batcher.learning.latency import LatencyCurve
from batcher.policy import Decision, LaneView, LotPolicy, QueueView, WaitUntil
from batcher.priority import Priority, Turns
from batcher.queue import Queue
from tests.fakes.executor import ManualBatcher
from tests.fakes.load import chance


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
    manual.admit(manual.queues[""], deadline=manual.clock.seconds() + 90.0)
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


def launched_pieces(*, read: bool) -> list[list[tuple[str, int, int]]]:
    """
    Serve bursts of requests, and return the pieces of each run.

    With *read*, read all that can be read after each event.
    """
    source = chance(7)
    manual = ManualBatcher(policy=LotPolicy())
    measured = {1: 1.0, 4: 1.2, 16: 4.0, 24: 6.5, 32: 8.0}
    queue = manual.queues[""] = Queue(LatencyCurve(measured), 32, 1000)

    def reads() -> None:
        for _ in range(2 if read else 0):
            manual.recorder.report(manual.batcher.stats())
            manual.batcher.admission.expected_wait(manual.clock.seconds(), queue, Priority.LOW, 3)
            if queue.rows:
                queue.view(Turns(), draining=False)

    for number in range(600):
        for client in range(source.choice((0, 0, 1, 2, 3, 12))):
            deadline = manual.clock.seconds() + source.choice((8.0, 64.0, inf))
            manual.submit(f"{number}.{client}", source=client, deadline=deadline)
            reads()
        manual.clock.advance(source.choice((0.0, 0.25, 0.5)))
        reads()
        if manual.lane.runs and not manual.lane.runs[-1].ended:
            rows = manual.lane.current.rows
            manual.clock.advance(source.uniform(0.8, 1.2) * (1.0 + rows / 6))
            reads()
            manual.lane.current.finish()
            reads()
    return [run.pieces for run in manual.lane.runs]


def test_reading_changes_no_later_decision() -> None:
    """Reports, views and expected waits are read after every event, or never."""
    pieces = launched_pieces(read=False)
    assert launched_pieces(read=True) == pieces
    assert {len(each) for each in pieces} > {1, 2, 3, 4}
