"""
Batches that are run again: in halves after a failed run, cut to a smaller cap after out of memory.

Pure: fires no Deferred and reads no clock.
"""

from heapq import heappop, heappush
from math import inf
from typing import Generic

from batcher.batch import Batch
from batcher.errors import (
    BatcherError,
    OutOfMemory,
    ResultCountMismatch,
    RunFailed,
    ShuttingDown,
)
from batcher.executor import Item, Result
from batcher.queue import Queue
from batcher.request import Part, Request


def cut(batch: Batch[Item, Result], rows: int) -> tuple[Batch[Item, Result], Batch[Item, Result]]:
    """Split *batch* after *rows* rows into two batches; a part at the border is cut in two."""
    first: list[Part[Item, Result]] = []
    rest: list[Part[Item, Result]] = []
    for part in batch.parts:
        stop = min(part.stop, part.start + rows)
        if stop > part.start:
            first.append(Part(part.item, part.start, stop, part.request))
        if stop < part.stop:
            rest.append(Part(part.item, stop, part.stop, part.request))
        rows -= stop - part.start
    return Batch(first), Batch(rest)


class Retries(Generic[Item, Result]):
    """Batches that are to be run again, the oldest first."""

    def __init__(self) -> None:
        # The sequence number and the first row are unique, so that two batches are never compared.
        self._heap: list[tuple[int, int, Batch[Item, Result]]] = []

    @property
    def requests(self) -> list[Request[Item, Result]]:
        """The open requests of these batches, in the order of the batches."""
        return [part.request for _, _, batch in sorted(self._heap) for part in batch.open_parts]

    @property
    def rows(self) -> int:
        """The number of rows of open requests in these batches."""
        return sum(self.by_queue().values())

    def by_queue(self) -> dict[Queue[Item, Result], int]:
        """Return `rows` by queue, without queues that have none."""
        rows: dict[Queue[Item, Result], int] = {}
        for _, _, batch in self._heap:
            for part in batch.open_parts:
                rows[batch.queue] = rows.get(batch.queue, 0) + part.rows
        return rows

    def push_failed(self, batch: Batch[Item, Result], error: BaseException) -> BatcherError | None:
        """
        Add smaller batches of *batch*, whose run has failed with *error*.

        Return the error with which its requests end if no smaller batch can succeed, else None.
        After `OutOfMemory` lowers the cap of the queue.
        """
        if isinstance(error, (ResultCountMismatch, ShuttingDown)):
            return error
        if isinstance(error, OutOfMemory) and batch.rows > 1:
            # Halved by rows: a retry is cut to the cap when it is launched.
            batch.queue.cap = min(batch.queue.cap, (batch.rows + 1) // 2)
            self.push(batch)
        elif len(batch.parts) == 1:
            return RunFailed(error)
        else:
            parts = batch.open_parts
            middle = (len(parts) + 1) // 2
            # If others were closed since, a single open part may not be the cause: it is run again.
            for half in (parts[:middle], parts[middle:]):
                if half:
                    self.push(Batch(half))
        return None

    def push(self, batch: Batch[Item, Result]) -> None:
        """Add *batch*; it is launched when a lane is idle."""
        head = batch.parts[0]
        heappush(self._heap, (head.request.number, head.start, batch))

    def pop(self) -> Batch[Item, Result] | None:
        """
        Remove the oldest batch and return its open parts as a batch; None if there is no batch.

        The rows beyond the cap of its queue are kept as another retry.
        """
        while self._heap:
            parts = heappop(self._heap)[2].open_parts
            if parts:
                batch = Batch(parts)
                if batch.rows > batch.queue.cap:
                    batch, rest = cut(batch, batch.queue.cap)
                    self.push(rest)
                return batch
        return None

    def expired(self, now: float) -> list[Request[Item, Result]]:
        """Return the open requests whose deadline is at most *now*, without removing them."""
        return [request for request in self.requests if request.deadline <= now]

    def deadline(self) -> float:
        """Return the earliest deadline of the open requests; inf if there is none."""
        return min((request.deadline for request in self.requests), default=inf)
