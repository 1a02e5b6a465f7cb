"""
Closing: the state of a batcher and its shares, and the Deferreds that wait until they have ended.

Belongs to the reactor thread.
"""

from typing import Generic

from twisted.internet.defer import Deferred

from batcher.errors import RefusalError, RunHung, ShuttingDown
from batcher.executor import Item, Result
from batcher.lanes import Lanes
from batcher.pending import Pending
from batcher.queue import Queue
from batcher.retries import Retries
from batcher.share import Share
from batcher.stats import State


class Closing(Generic[Item, Result]):
    """What a batcher still accepts, and the Deferreds that wait for its end or that of a share."""

    def __init__(
        self,
        pending: Pending[Item, Result],
        retries: Retries[Item, Result],
        lanes: Lanes[Item, Result],
    ) -> None:
        self._pending = pending
        self._retries = retries
        self._lanes = lanes
        self.state = State.RUNNING
        self.open = True  #: whether the state is RUNNING; reading a member of an Enum is slow
        # In order of the calls; None: the Deferred waits for the whole batcher.
        self._waiting: dict[Deferred[None], Share | None] = {}

    def is_closed(self, queue: Queue[Item, Result]) -> bool:
        """Return whether the batcher or the share of *queue* is closed: requests are refused."""
        return not (self.open and (queue.share is None or queue.share.open))

    def refusal(self, queue: Queue[Item, Result]) -> RefusalError | None:
        """Return the error that refuses every request of *queue* now; None if there is none."""
        if self.is_closed(queue):
            return ShuttingDown()
        if self._lanes.all_hung:
            return RunHung(self._lanes.run_timeout)
        return None

    def stop(self) -> None:
        """Refuse every request, and wait for nothing: the batcher is stopped."""
        self.open, self.state = False, State.STOPPED

    def close(self, share: Share | None) -> Deferred[None]:
        """
        Close *share*, or the batcher if it is None; return a Deferred, which may be cancelled.

        The Deferred is fired by `fire` as soon as no request of it waits and no run is under way,
        except runs given up.
        """
        if share is not None:
            share.open = False
        elif self.open:
            self.open, self.state = False, State.DRAINING
        ended: Deferred[None] = Deferred(self._cancel)
        self._waiting[ended] = share
        return ended

    def fire(self) -> None:
        """Fire the Deferreds whose batcher or share has ended; callbacks may call any method."""
        # A batch that is to be run again keeps a lane busy, or was dropped by the last turn.
        in_flight = len(self._lanes) - self._lanes.hung
        if not (self.open or self._pending.queues or in_flight):
            self.state = State.STOPPED
        while self._waiting:
            busy: set[Share | None] = {batch.queue.share for batch in self._lanes if not batch.hung}
            busy |= {it.share for it in (*self._pending.queues, *self._retries.by_queue())} | {None}
            if self.state is State.STOPPED:
                busy.clear()
            ended = next((it for it, share in self._waiting.items() if share not in busy), None)
            if ended is None:
                break
            del self._waiting[ended]
            ended.callback(None)

    def _cancel(self, ended: Deferred[None]) -> None:
        """Called when *ended*, a Deferred of `close`, is cancelled."""
        del self._waiting[ended]
