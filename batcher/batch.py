"""
A closed batch: its parts, how results are distributed, and how it is halved and cut for a retry.

Pure: fires no Deferred and reads no clock.
"""

from collections.abc import Hashable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Generic

from batcher.errors import ResultCountMismatch
from batcher.executor import Item, Result
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.trace import Run


class Batch(Generic[Item, Result]):
    """Parts of requests of one queue, in order of arrival; at least one."""

    __slots__ = ("parts", "rows")

    def __init__(self, parts: list[Part[Item, Result]]) -> None:
        self.parts = parts
        self.rows = sum([part.stop - part.start for part in parts])

    @property
    def queue(self) -> Queue[Item, Result]:
        """The queue of its requests."""
        return self.parts[0].request.queue

    @property
    def open_parts(self) -> list[Part[Item, Result]]:
        """The parts of requests that are still open."""
        return [part for part in self.parts if part.request.open]

    @property
    def completed_sources(self) -> list[tuple[Hashable, int]]:
        """
        The sources that are about to get an answer, and the rows of each request.

        Without closed requests, and without requests that have rows left to run.
        """
        requests = [part.request for part in self.parts]
        return [
            (it.source, it.rows)
            for it in requests
            if it.source is not None and it.open and it.done == it.rows
        ]

    def launched(self, run: Run, now: float) -> None:
        """Record in the traces of its requests that it was launched as *run* at *now*."""
        for part in self.parts:
            trace = part.request.trace
            if trace is not None:
                trace.set_queued(now - part.request.arrived)
                trace.runs.append(run)

    def scatter(self, results: Sequence[Result]) -> list[Request[Item, Result]]:
        """
        Give each open request its result, and return these requests in order.

        Raises `ResultCountMismatch`, and then gives out nothing.
        """
        if len(results) != len(self.parts):
            raise ResultCountMismatch(expected=len(self.parts), got=len(results))
        requests = []
        for part, result in zip(self.parts, results, strict=True):
            request = part.request
            if request.open:
                request.add(part, result)
                requests.append(request)
        return requests

    def halves(self) -> "list[Batch[Item, Result]]":
        """Return the open parts in two halves; in one batch if one is left, or none."""
        parts = self.open_parts
        # If other requests were closed since, the last open one may be innocent: run it once more.
        middle = (len(parts) + 1) // 2
        return [Batch(half) for half in (parts[:middle], parts[middle:]) if half]

    def cut(self, rows: int) -> "tuple[Batch[Item, Result], Batch[Item, Result]]":
        """Return the first *rows* rows and the rest; a part is cut in two where needed."""
        first: list[Part[Item, Result]] = []
        rest: list[Part[Item, Result]] = []
        for part in self.parts:
            stop = min(part.stop, part.start + rows)
            if stop > part.start:
                first.append(Part(part.item, part.start, stop, part.request))
            if stop < part.stop:
                rest.append(Part(part.item, max(stop, part.start), part.stop, part.request))
            rows -= stop - part.start
        return Batch(first), Batch(rest)


class Retries(Generic[Item, Result]):
    """Batches that are to be run again, the oldest first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        # Number and first row are unique: two batches are never compared.
        self._heap: list[tuple[int, int, Batch[Item, Result]]] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def requests(self) -> list[Request[Item, Result]]:
        """The open requests of these batches."""
        return [part.request for _, _, batch in sorted(self._heap) for part in batch.open_parts]

    @property
    def rows(self) -> int:
        """Rows of open requests."""
        return sum(part.rows for _, _, batch in self._heap for part in batch.open_parts)

    def push(self, batch: Batch[Item, Result]) -> None:
        """Keep *batch* until a lane is idle."""
        head = batch.parts[0]
        heappush(self._heap, (head.request.number, head.start, batch))

    def pop(self) -> Batch[Item, Result] | None:
        """Remove and return the oldest batch, cut to its cap, without closed requests."""
        while self._heap:
            parts = heappop(self._heap)[2].open_parts
            if parts:
                batch = Batch(parts)
                if batch.rows > batch.queue.cap:
                    batch, rest = batch.cut(batch.queue.cap)
                    self.push(rest)
                return batch
        return None

    def expired(self, now: float) -> list[Request[Item, Result]]:
        """Return the open requests whose deadline is at most *now*."""
        if not self._heap:
            return []
        return [request for request in self.requests if request.deadline <= now]

    def deadline(self) -> float:
        """Return the earliest deadline of the open requests; inf if there is none."""
        if not self._heap:
            return inf
        return min((request.deadline for request in self.requests), default=inf)
