"""The waiting rows: order, bounds, expiry and fairness; batcher/queue.py and batcher/pending.py."""

from math import inf

import pytest

from batcher.learning.latency import LatencyCurve
from batcher.pending import Pending
from batcher.policy import QueueView, WaitUntil
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.share import ShareTurns
from tests.fakes.executor import Rows, join_rows, rows_of

StrQueue = Queue[str, Rows[str]]
StrRequest = Request[str, Rows[str]]


def a_queue() -> StrQueue:
    """Return an empty queue of which nothing is known."""
    return Queue(LatencyCurve({}), 8, 64)


@pytest.fixture
def one() -> StrQueue:
    """Return an empty queue."""
    return a_queue()


@pytest.fixture
def other() -> StrQueue:
    """Return another one."""
    return a_queue()


def a_request(queue: StrQueue, number: int, rows: int = 1, deadline: float = inf) -> StrRequest:
    """Return a request whose *number* is its arrival time, too."""
    return Request(number, f"item {number}", rows, queue, float(number), deadline)


def waiting(*requests: StrRequest) -> Pending[str, Rows[str]]:
    """Return the queues of *requests*."""
    pending: Pending[str, Rows[str]] = Pending(ShareTurns())
    for each in requests:
        pending.push(each)
    return pending


def spans(parts: list[Part[str, Rows[str]]]) -> list[tuple[int, int, int]]:
    """Return number, first row and end of each part."""
    return [(part.request.number, part.start, part.stop) for part in parts]


def test_rows_leave_in_order_of_arrival_and_a_request_may_be_split(one: StrQueue) -> None:
    """Three batches of four rows cut the second and the third request."""
    pending = waiting(a_request(one, 1, 3), a_request(one, 2, 2), a_request(one, 3, 6))
    assert (pending.rows, one.rows) == (11, 11)
    assert spans(pending.take(one, 4)[0]) == [(1, 0, 3), (2, 0, 1)]
    assert spans(pending.take(one, 4)[0]) == [(2, 1, 2), (3, 0, 3)]
    assert pending.rows == 3
    assert spans(pending.take(one, 4)[0]) == [(3, 3, 6)]
    assert (pending.rows, one.rows) == (0, 0)
    assert pending.by_turn() == []


def test_removal_takes_only_the_waiting_rows(one: StrQueue) -> None:
    """Of a request half launched the other half; nothing of a request that does not wait."""
    half, whole, gone = a_request(one, 1, 4), a_request(one, 2, 2), a_request(one, 3, 5)
    pending = waiting(half, whole)
    pending.take(one, 3)
    pending.remove(half)
    assert pending.rows == 2
    pending.remove(half)
    pending.remove(gone)
    assert pending.rows == 2
    assert spans(pending.take(one, 9)[0]) == [(2, 0, 2)]
    pending.remove(whole)
    assert pending.rows == 0


def test_expiry_removes_the_requests_whose_deadline_has_come(
    one: StrQueue, other: StrQueue
) -> None:
    """At the deadline itself, in order of deadlines within a queue."""
    late, soon, never = (
        a_request(one, 1, deadline=9.0),
        a_request(one, 2, 2, deadline=4.0),
        a_request(one, 3),
    )
    elsewhere = a_request(other, 4, deadline=6.0)
    pending = waiting(late, soon, never, elsewhere)
    assert pending.deadline() == 4.0
    assert pending.expired(3.0) == []
    assert pending.expired(6.0) == [soon, elsewhere]
    assert pending.rows == 2
    assert pending.deadline() == 9.0
    assert pending.expired(16.0) == [late]
    assert pending.deadline() == inf
    assert pending.rows == 1


def test_a_deadline_is_forgotten_with_its_request(one: StrQueue) -> None:
    """A launched or removed request does not expire; one that is half launched does."""
    launched, removed, half = (
        a_request(one, 1, deadline=2.0),
        a_request(one, 2, deadline=3.0),
        a_request(one, 3, 2, deadline=4.0),
    )
    pending = waiting(launched, removed, half)
    pending.remove(removed)
    pending.take(one, 2)
    assert pending.deadline() == 4.0
    assert pending.expired(8.0) == [half]


def test_an_emptied_queue_keeps_neither_deadlines_nor_a_decision(one: StrQueue) -> None:
    """The model keeps its queues, so that nothing of past requests may stay in them."""
    pending = waiting(a_request(one, 1, deadline=2.0))
    one.wait(WaitUntil(1.0, "return-hold"))
    assert pending.next_decision() == 1.0
    pending.take(one, 1)
    assert (one.decision, len(one._deadlines), one.deadline()) == (None, 0, inf)
    assert pending.next_decision() == inf


def test_stale_deadlines_are_dropped(one: StrQueue) -> None:
    """A thousand requests come and go behind one early deadline; few deadlines are kept."""
    one.push(a_request(one, 0, deadline=1.0))
    for number in range(1, 1000):
        visitor = a_request(one, number, deadline=1000.0 - number)
        one.push(visitor)
        one.remove(visitor)
    assert len(one._deadlines) < 100
    assert one.deadline() == 1.0
    assert one.rows == 1


def test_the_deadlines_of_a_long_queue_are_dropped_when_it_is_short_again(one: StrQueue) -> None:
    """The number kept is bounded by the longest queue, and falls again."""
    crowd = [a_request(one, number, deadline=2000.0 - number) for number in range(1000)]
    for each in crowd:
        one.push(each)
    assert one.deadline() == 1001.0
    for each in crowd[:-1]:
        one.remove(each)
    for number in range(1000, 4000):
        visitor = a_request(one, number, deadline=5000.0 - number)
        one.push(visitor)
        one.remove(visitor)
        assert len(one._deadlines) < 3000
    assert len(one._deadlines) < 100
    assert one.deadline() == 1001.0


def test_queues_launch_in_the_order_of_their_oldest_heads(one: StrQueue, other: StrQueue) -> None:
    """A busy queue does not overtake the head of a quiet one."""
    pending = waiting(a_request(one, 1, 8), a_request(other, 2, 1), a_request(one, 3, 8))
    assert pending.by_turn() == [one, other]
    assert (one.rows, other.rows) == (16, 1)
    pending.take(one, 8)
    pending.push(a_request(one, 4, 8))
    assert pending.by_turn() == [other, one]


def test_a_view_has_what_a_policy_may_see(one: StrQueue) -> None:
    """Waiting rows, oldest arrival, earliest deadline, l(b), and no payload."""
    pending = waiting(a_request(one, 4, 3), a_request(one, 5, 2, deadline=9.0))
    pending.take(one, 1)
    for draining in (False, True):
        view = pending.view(one, draining=draining)
        assert view == QueueView(4, 4.0, 9.0, draining, one.latency)


def test_results_of_parts_are_joined_in_order_of_rows(one: StrQueue) -> None:
    """In whatever order the parts end; the result of a single part is not joined."""
    split = a_request(one, 1, 3)
    pending = waiting(split)
    first, second = pending.take(one, 2)[0][0], pending.take(one, 2)[0][0]
    split.add(second, rows_of(second))
    assert split.done == 1
    split.add(first, rows_of(first))
    assert split.done == 3
    assert split.joined(join_rows) == [("item 1", 0), ("item 1", 1), ("item 1", 2)]
    whole = a_request(one, 2)
    whole.add(Part("item 2", 0, 1, whole), [("item 2", 0)])
    assert whole.joined(lambda parts: [("joined", len(parts))]) == [("item 2", 0)]
