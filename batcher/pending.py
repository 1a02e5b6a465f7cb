"""
The queues that have waiting requests, and the turns of the priorities among them.

Pure: reads no clock, owns no timer and fires no Deferred.  Counts rows, never requests.
"""

from collections.abc import Mapping
from math import inf
from typing import Generic

from batcher.executor import Item, Result
from batcher.policy import QueueView
from batcher.priority import SHARES, Turns
from batcher.queue import NO_OTHER_HEADS, Queue
from batcher.request import Part, Request


class Pending(Generic[Item, Result]):
    """The queues that are not empty."""

    __slots__ = ("_queues", "_turns", "rows")

    def __init__(self) -> None:
        self.rows = 0  #: rows waiting in all queues
        self._turns = Turns()
        # An ordered set, in the order in which the queues ceased to be empty.
        self._queues: dict[Queue[Item, Result], None] = {}

    def push(self, request: Request[Item, Result]) -> None:
        """Append *request* to its queue."""
        queue = request.queue
        self._queues[queue] = None
        queue.push(request)
        self.rows += request.rows

    def by_turn(self) -> list[Queue[Item, Result]]:
        """
        Return the queues in the order in which they may launch.

        The queues with requests of the priority that has the turn come first, and among these the
        queue whose oldest request of that priority arrived first; the queues of the next
        priorities follow.  A busy queue cannot starve another.
        """
        queues = list(self._queues)
        if len(queues) < 2:
            return queues
        order: dict[Queue[Item, Result], None] = {}
        for level in self._turns.next(range(len(SHARES))):
            waiting = [(q.first_waiting(level).number, q) for q in queues if q.has_waiting(level)]
            order.update((queue, None) for _, queue in sorted(waiting, key=_first))
        return list(order)

    @property
    def requests(self) -> list[Request[Item, Result]]:
        """The waiting requests, queue by queue; within a queue the oldest first."""
        return [request for queue in self._queues for request in queue.requests]

    def view(self, queue: Queue[Item, Result], now: float, *, draining: bool) -> QueueView:
        """Return the state of *queue* for the policy; *queue* must not be empty."""
        return queue.view(now, self._turns, draining=draining)

    def take(
        self, queue: Queue[Item, Result], rows: int, finish: float = -inf
    ) -> tuple[list[Part[Item, Result]], list[Request[Item, Result]]]:
        """Remove up to *rows* rows of *queue*; *finish* and the result are as in `Queue.take`."""
        before = queue.rows
        taken = queue.take(self._turns, rows, finish, self._other_heads(queue))
        self.rows -= before - queue.rows
        self._drop_if_empty(queue)
        return taken

    def remove(self, request: Request[Item, Result]) -> None:
        """Remove the waiting rows of *request*, if there are any."""
        queue = request.queue
        if queue in self._queues:
            self.rows -= queue.remove(request)
            self._drop_if_empty(queue)

    def deadline(self) -> float:
        """Return the earliest deadline of the waiting requests; inf if there is none."""
        earliest = inf
        for queue in self._queues:
            earliest = min(earliest, queue.deadline())
        return earliest

    def expired(self, now: float) -> list[Request[Item, Result]]:
        """Remove and return the waiting requests whose deadline is at most *now*."""
        if self.deadline() > now:
            return []
        found = [request for queue in self._queues for request in queue.pop_expired(now)]
        for request in found:
            self.remove(request)
        return found

    def clear_decisions(self) -> None:
        """Drop the decisions of the policy, so that it is asked again about each queue."""
        for queue in self._queues:
            queue.decision = None

    def next_decision(self) -> float:
        """Return the earliest `WaitUntil.time` of all queues; inf if no queue has a decision."""
        earliest = inf
        for queue in self._queues:
            if queue.decision is not None:
                earliest = min(earliest, queue.decision.time)
        return earliest

    def _other_heads(self, queue: Queue[Item, Result]) -> Mapping[int, int]:
        """
        Return, for each priority, the sequence number of the oldest request in the other queues.

        Excludes the priority that has the turn, and priorities without requests in *queue*.
        `Queue.take` does not charge rows of younger requests to their priority: otherwise *queue*
        might use all turns of that priority, and the oldest request elsewhere would get none.
        """
        if len(self._queues) < 2:
            return NO_OTHER_HEADS
        turn = queue.next_level(self._turns)
        others = [other for other in self._queues if other is not queue]
        heads = {
            level: [
                other.first_waiting(level).number for other in others if other.has_waiting(level)
            ]
            for level in queue.levels
            if level != turn
        }
        return {level: min(numbers) for level, numbers in heads.items() if numbers}

    def _drop_if_empty(self, queue: Queue[Item, Result]) -> None:
        if queue.rows == 0:
            del self._queues[queue]
            queue.clear()


def _first(pair: tuple[int, object]) -> int:
    return pair[0]
