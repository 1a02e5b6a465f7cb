"""
Admission: which requests the batcher accepts, and the reason for each refusal.

Estimates the wait from the queues, the retries and the lanes; learns whether admitted requests meet
their deadlines.  Reads no clock and fires no Deferred.
"""

from collections.abc import Sequence
from math import inf
from typing import Generic

from batcher.closing import Closing
from batcher.errors import Overloaded
from batcher.executor import Item, Result
from batcher.lanes import Lanes
from batcher.pending import Pending
from batcher.policy import fitting
from batcher.priority import SHARES, Priority
from batcher.queue import Queue
from batcher.request import Request
from batcher.retries import Retries
from batcher.share import Account, ShareTurns


class AdmissionControl(Generic[Item, Result]):
    """Admits or refuses requests; once the batcher or a share is closed, refuses all of them."""

    def __init__(
        self,
        pending: Pending[Item, Result],
        retries: Retries[Item, Result],
        lanes: Lanes[Item, Result],
        turns: ShareTurns,
        closing: Closing[Item, Result],
    ) -> None:
        """Estimates use the first four; *closing* decides what is refused in any case."""
        self._turns = turns
        self._closing = closing
        self._pending = pending
        self._retries = retries
        self._lanes = lanes

    def admit(
        self,
        now: float,
        queue: Queue[Item, Result],
        deadline: float,
        priority: Priority = Priority.NORMAL,
        ahead: int = 0,
    ) -> None:
        """
        Raise `Overloaded` if a row that arrives in *queue* now is expected to miss its *deadline*.

        Call this before a request causes any work.  Exception: while nothing of its share waits or
        runs, every request is admitted, so that no wrong estimate can refuse everything for good.
        *ahead* is the number of rows that were admitted but not submitted yet.  Raises
        `ShuttingDown` once the batcher or the share is closed, and `RunHung` while all lanes hang.
        """
        closed = self._closing.refusal(queue)
        if closed is not None:
            raise closed
        if deadline == inf or not (ahead or self._is_busy(queue)):
            return
        allowed = deadline - now
        wait = self.expected_wait(now, queue, priority, ahead, allowed)
        if wait > allowed:
            raise Overloaded(wait, allowed)

    def met(self, request: Request[Item, Result], now: float) -> None:
        """Learn that a batch met its deadlines at *now*; *request* is its first open request."""
        if request.had_to_wait:
            request.queue.admission_margin.met(request.elapsed_share(now))

    def missed(self, request: Request[Item, Result], now: float) -> None:
        """Learn at *now* that *request* misses its deadline."""
        queue = request.queue
        pause = queue.latency.predict(queue.cap) / self._lanes.count
        # The estimate is for one row: a miss is no evidence if the request has more rows than a
        # batch, or if no run of its queue was ever measured.
        if request.had_to_wait and request.rows <= queue.cap and pause > 0.0:
            queue.admission_margin.missed(now, pause)

    def _is_busy(self, queue: Queue[Item, Result]) -> bool:
        """Return whether a row of the share of *queue* waits, or runs and is not given up."""
        busy = [*self._pending.queues, *self._retries.by_queue()]
        busy += [batch.queue for batch in self._lanes if not batch.hung]
        return any(it.share is queue.share for it in busy)

    def expected_wait(
        self,
        now: float,
        queue: Queue[Item, Result],
        priority: Priority = Priority.NORMAL,
        ahead: int = 0,
        allowed: float = inf,
    ) -> float:
        """
        Return the expected seconds until a row that arrives in *queue* now is answered.

        The sum of three times, multiplied by the margin of *queue*: until a lane is idle; that of
        the work launched before the row, divided by the lanes; and that of the batch of the row.
        The batches of *queue* have the largest size worth running if a request may take *allowed*
        seconds; those of any other queue have as many rows as its cap.  *ahead* is as in `admit`.
        The wait is inf while all lanes hang.  Changes nothing that a later decision depends on.
        """
        latency = queue.latency
        fits = fitting(latency.sizes(queue.cap), allowed).rows
        largest = fits[-1] if fits else queue.cap
        account, retries = self._turns.account_of(queue.share), self._retries.by_queue()
        rows = ahead + rows_before(priority, queue.by_level) + retries.pop(queue, 0)
        batches, rest = divmod(rows, largest)
        work = batches * latency.predict(largest)
        others: dict[Account, float] = {}  # the work of each other account
        for other, of in self._pending.queues.items():
            if of is not account:
                others[of] = others.get(of, 0.0) + _seconds(other, other.rows)
            elif other is not queue:
                work += _seconds(other, rows_before(priority, other.by_level))
        # Another account has turns until its charge is that of *account*, or its own work is done.
        charge = self._turns.charge_of(account) + work / account.weight
        for of, seconds in others.items():
            work += min(seconds, max(0.0, charge - self._turns.charge_of(of)) * of.weight)
        work += sum(_seconds(other, again) for other, again in retries.items())
        wait = self._lanes.free_in(now) + work / self._usable_lanes + latency.predict(rest + 1)
        return wait * queue.margin

    def added_wait(self, queue: Queue[Item, Result]) -> float:
        """
        Return the seconds by which each row that waits in *queue* makes `expected_wait` longer.

        That is the row's part of a run of as many rows as the cap, divided by the lanes.
        """
        row = queue.latency.predict(queue.cap) / queue.cap
        return row / self._usable_lanes * queue.margin

    @property
    def _usable_lanes(self) -> int:
        return max(1, self._lanes.count - self._lanes.hung)


def _seconds(queue: Queue[Item, Result], rows: int) -> float:
    """Return the expected seconds of *rows* rows of *queue*, run in batches as large as its cap."""
    batches, rest = divmod(rows, queue.cap)
    seconds = batches * queue.latency.predict(queue.cap)
    return seconds + queue.latency.predict(rest) if rest else seconds


def rows_before(priority: Priority, waiting: Sequence[int]) -> int:
    """
    Return how many rows are launched before a new row of *priority*.

    *waiting* is the number of waiting rows of each priority, indexed by the priority.
    """
    own = waiting[priority]
    share = SHARES[priority]
    others = (
        min(rows, (own + 1) * SHARES[level] // share)
        for level, rows in enumerate(waiting)
        if level != priority
    )
    return own + sum(others)
