"""
The queues that have waiting requests, and the turns of their accounts and priorities.

Pure: reads no clock, owns no timer and fires no Deferred.  Counts rows, never requests.
"""

from collections.abc import Mapping, Sequence
from math import inf
from operator import itemgetter
from typing import Generic

from batcher.executor import Item, Result
from batcher.policy import QueueView
from batcher.priority import SHARES
from batcher.queue import NO_OTHER_HEADS, Queue
from batcher.request import Part, Request
from batcher.share import Account, ShareTurns


class Pending(Generic[Item, Result]):
    """The queues that are not empty."""

    def __init__(self, turns: ShareTurns) -> None:
        self._turns = turns
        # The account of each queue, in the order in which the queues ceased to be empty.
        self._queues: dict[Queue[Item, Result], Account] = {}

    def push(self, request: Request[Item, Result]) -> None:
        """Append *request* to its queue."""
        queue = request.queue
        if queue not in self._queues:
            self._queues[queue] = self._turns.account_of(queue.share)
        queue.push(request)

    def by_turn(self) -> list[Queue[Item, Result]]:
        """
        Return the queues in the order in which they may launch.

        The queues of the account that has the turn come first.  Among these, the queues with
        requests of the priority that has the turn come first, and among these the queue whose
        oldest request of that priority arrived first; the queues of the next priorities follow.
        Neither a slow account nor a busy queue can starve another.
        """
        if len(self._queues) < 2:
            return list(self._queues)
        accounts: dict[Account, list[Queue[Item, Result]]] = {}
        for queue, account in self._queues.items():
            accounts.setdefault(account, []).append(queue)
        turns = sorted(accounts, key=self._turns.charge_of)
        return [queue for account in turns for queue in _by_priority(account, accounts[account])]

    @property
    def rows(self) -> int:
        """The number of rows that wait in all queues."""
        return sum(queue.rows for queue in self._queues)

    @property
    def queues(self) -> Mapping[Queue[Item, Result], Account]:
        """The queues that are not empty, each with its account."""
        return self._queues

    @property
    def requests(self) -> list[Request[Item, Result]]:
        """The waiting requests, queue by queue; within a queue the oldest first."""
        return [request for queue in self._queues for request in queue.requests]

    def view(self, queue: Queue[Item, Result], *, draining: bool) -> QueueView:
        """Return the state of *queue* for the policy; *queue* must not be empty."""
        return queue.view(self._queues[queue].turns, draining=draining)

    def take(
        self, queue: Queue[Item, Result], rows: int, finish: float = -inf
    ) -> tuple[list[Part[Item, Result]], list[Request[Item, Result]]]:
        """Remove up to *rows* rows of *queue*; *finish* and the result are as in `Queue.take`."""
        account = self._queues[queue]
        parts, late = queue.take(account.turns, rows, finish, self._other_heads(queue, account))
        if parts:
            self._turns.start_turn(account)
        self._drop_if_empty(queue)
        return parts, late

    def remove(self, request: Request[Item, Result]) -> None:
        """Remove the waiting rows of *request*, if there are any."""
        queue = request.queue
        if queue in self._queues:
            queue.remove(request)
            self._drop_if_empty(queue)

    def deadline(self) -> float:
        """Return the earliest deadline of the waiting requests; inf if there is none."""
        return min([queue.deadline() for queue in self._queues], default=inf)

    def expired(self, now: float) -> list[Request[Item, Result]]:
        """Return the waiting requests whose deadline is at most *now*; the caller removes them."""
        if self.deadline() > now:
            return []
        return [request for queue in self._queues for request in queue.pop_expired(now)]

    def _other_heads(self, queue: Queue[Item, Result], account: Account) -> Mapping[int, int]:
        """
        Return, for each priority, the number of the oldest request in other queues of *account*.

        Excludes the priority that has the turn, and priorities without requests in *queue*.
        `Queue.take` does not charge rows of younger requests to their priority: otherwise *queue*
        might use all turns of that priority, and the oldest request elsewhere would get none.
        """
        if len(self._queues) < 2:
            return NO_OTHER_HEADS
        turn = queue.next_level(account.turns)
        others = [it for it, of in self._queues.items() if of is account and it is not queue]
        if not others:
            return NO_OTHER_HEADS
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


def _by_priority(
    account: Account, queues: Sequence[Queue[Item, Result]]
) -> Sequence[Queue[Item, Result]]:
    """Return *queues*, those of *account* that are not empty, in the order of their turns."""
    if len(queues) < 2:
        return queues
    order: dict[Queue[Item, Result], None] = {}
    for level in account.turns.next(range(len(SHARES))):
        waiting = [(q.first_waiting(level).number, q) for q in queues if q.has_waiting(level)]
        order.update((queue, None) for _, queue in sorted(waiting, key=itemgetter(0)))
    return list(order)
