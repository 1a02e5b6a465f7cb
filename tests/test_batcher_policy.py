"""When the batcher asks its policy, and what it is asked about."""

from itertools import pairwise
from math import inf

import pytest

from batcher.learning.latency import EXPLORATION_INTERVAL_BATCHES, LatencyCurve
from batcher.policy import Decision, FixedPolicy, LaneView, LotPolicy, QueueView, WaitUntil
from batcher.priority import Priority, Turns
from batcher.queue import Queue
from batcher.share import Share
from tests.fakes.executor import ManualBatcher
from tests.fakes.load import chance


class AskedPolicy:
    """Waits until 50 s, then for ever; records the state of the queue at each call."""

    def __init__(self) -> None:
        self.asked: list[QueueView] = []

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Wait on, and then for ever."""
        self.asked.append(queue)
        return WaitUntil(50.0 if now < 50.0 else inf, "return-hold")


def test_a_policy_is_asked_at_each_arrival_and_when_it_is_time() -> None:
    """It sees the waiting rows, the oldest arrival and the earliest deadline, but no payload."""
    policy = AskedPolicy()
    manual = ManualBatcher(policy=policy)
    manual.clock.advance(4.0)
    manual.submit("first", deadline=40.0)
    manual.clock.advance(1.0)
    manual.submit("second", 2, deadline=20.0)
    for seconds in (5.0, 10.0, 30.0):  # nothing; the second deadline; 50 s, after the first one
        manual.clock.advance(seconds)
    seen = [
        (it.rows, it.oldest, it.deadline, it.head_deadline, it.head_allowed) for it in policy.asked
    ]
    assert seen == [
        (1, 4.0, 40.0, 40.0, 36.0),
        (3, 4.0, 20.0, 40.0, 36.0),
        (1, 4.0, 40.0, 40.0, 36.0),
    ]
    assert all(it.latency is manual.latency for it in policy.asked)
    assert not any(it.draining for it in policy.asked)
    manual.submit("third")
    manual.drained()
    assert policy.asked[-1] == QueueView(1, 50.0, draining=True, latency=manual.latency)


def test_the_fixed_policy_waits_by_one_timer() -> None:
    """For the delay of the head; one delayed call, and none once all are launched."""
    manual = ManualBatcher(policy=FixedPolicy(max_batch_size=4, max_queue_delay=8.0))
    manual.submit("a")
    manual.clock.advance(4.0)
    manual.submit("b", key="other", deadline=64.0)
    manual.submit("c", deadline=32.0)
    (call,) = manual.clock.getDelayedCalls()
    assert call.getTime() == 8.0
    assert manual.batches == []
    manual.clock.advance(4.0)
    assert manual.batches == [["a", "c"]]
    manual.lane.current.finish()
    manual.clock.advance(4.0)
    assert manual.batches == [["a", "c"], ["b"]]
    manual.lane.current.finish()
    assert manual.clock.getDelayedCalls() == []


def test_each_queue_may_have_its_own_policy() -> None:
    """The other queues have that of the batcher."""
    manual = ManualBatcher()
    waits = FixedPolicy(max_batch_size=2, max_queue_delay=500.0)
    manual.queues["waits"] = Queue(manual.latency, 8, 64, policy=waits)
    manual.submit("waits", key="waits")
    assert manual.lane.runs == []
    manual.submit("at once")
    manual.submit("second", key="waits")
    manual.lane.current.finish()
    assert manual.batches == [["at once"], ["waits", "second"]]


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


@pytest.mark.parametrize("cancelled", [False, True])
def test_no_batch_waits_for_a_client_that_got_no_answer(cancelled: bool) -> None:
    """Its request is half run, or it has cancelled it."""
    manual = ManualBatcher(policy=LotPolicy(), lanes=2)
    for rows in (1, 8):
        manual.latency.observe(rows, 8.0)
    for _ in range(3):
        manual.queues[""].returns.answered([("client", 1)], 0.0)
        manual.queues[""].returns.observe("client", 0.0)
    answer = manual.submit("a", 1 if cancelled else 4, source="client")
    if cancelled:
        answer.cancel()
    manual.lanes[0].current.finish()
    manual.submit("b")
    assert manual.lanes[0].current.pieces == [("b", 0, 1)]


def test_one_batch_in_many_measures_another_size() -> None:
    """All sizes have the same rate here; the others have the size with the least wait."""
    manual = ManualBatcher(policy=LotPolicy())
    queue = manual.queues[""] = Queue(LatencyCurve({1: 1.0, 4: 4.0, 8: 8.0}), 8, 64)
    for number in range(64):
        while queue.rows < 8:
            manual.submit(str(number))
        manual.clock.advance(float(manual.lane.current.rows))
        manual.lane.current.finish()
    explored = [at for at, run in enumerate(manual.report.runs) if run.reason == "explore"]
    apart = EXPLORATION_INTERVAL_BATCHES + 1
    assert [one - other for other, one in pairwise(explored)] == [apart] * 2


def launched_pieces(*, read: bool) -> list[list[tuple[str, int, int]]]:
    """
    Serve bursts of requests, and return the pieces of each run.

    With *read*, read all that can be read after each event.
    """
    source = chance(7)
    manual = ManualBatcher(policy=LotPolicy())
    measured = {1: 1.0, 4: 1.2, 16: 4.0, 24: 6.5, 32: 8.0}
    queue = manual.queues[""] = Queue(LatencyCurve(measured), 32, 1000, share=Share(""))

    def reads() -> None:
        for _ in range(2 if read else 0):
            manual.recorder.report(manual.batcher.stats())
            manual.batcher.admission.expected_wait(manual.clock.seconds(), queue, Priority.LOW, 3)
            if queue.rows:
                queue.view(Turns(), draining=False)

    for number in range(300):
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
