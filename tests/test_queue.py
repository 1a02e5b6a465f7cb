"""What an empty or a long queue keeps in memory: batcher/queue.py."""

from math import inf

from batcher.learning.latency import LatencyCurve
from batcher.pending import Pending
from batcher.queue import Queue
from batcher.request import Request
from batcher.share import ShareTurns

StrQueue = Queue[str, str]


def a_request(queue: StrQueue, number: int, deadline: float) -> Request[str, str]:
    """Return a request of one row."""
    return Request(number, "item", 1, queue, 0.0, deadline)


def test_an_emptied_queue_keeps_no_deadlines() -> None:
    """The model keeps its queues, so that nothing of past requests may stay in them."""
    queue: StrQueue = Queue(LatencyCurve({}), 8, 64)
    pending: Pending[str, str] = Pending(ShareTurns())
    pending.push(a_request(queue, 1, 2.0))
    pending.take(queue, 1)
    assert (len(queue._deadlines), queue.deadline()) == (0, inf)


def test_the_deadlines_of_requests_that_no_longer_wait_are_dropped() -> None:
    """Behind one early deadline; the number kept falls when a long queue is short again."""
    queue: StrQueue = Queue(LatencyCurve({}), 8, 9999)
    crowd = [a_request(queue, number, 2000.0 - number) for number in range(1000)]
    for each in crowd:
        queue.push(each)
    assert queue.deadline() == 1001.0
    for each in crowd[:-1]:
        queue.remove(each)
    for number in range(1000, 4000):
        visitor = a_request(queue, number, 5000.0 - number)
        queue.push(visitor)
        queue.remove(visitor)
        assert len(queue._deadlines) < 3000
    assert len(queue._deadlines) < 100
    assert (queue.deadline(), queue.rows) == (1001.0, 1)
