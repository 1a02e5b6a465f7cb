"""
A closed batch: whose pieces ride in it, what becomes of its results, how it is run again.

Pure: fires no Deferred and knows no time but what it is told.
"""

from collections.abc import Hashable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Generic

from batcher.errors import ResultCountMismatch
from batcher.executor import Item, Result
from batcher.pending import Part, Ticket
from batcher.profile import Profile
from batcher.trace import Run


class Batch(Generic[Item, Result]):
    """Pieces of one profile, in order of arrival; at least one."""

    __slots__ = ("parts", "rows")

    def __init__(self, parts: list[Part[Item, Result]]) -> None:
        self.parts = parts
        self.rows = sum([part.stop - part.start for part in parts])

    @property
    def profile(self) -> Profile:
        """What kind of run it is."""
        return self.parts[0].ticket.profile

    @property
    def wanted(self) -> list[Part[Item, Result]]:
        """The parts whose requests are still open."""
        return [part for part in self.parts if part.ticket.open]

    @property
    def riders(self) -> list[tuple[Hashable, int]]:
        """
        Who is about to be answered and may come back, and how many rows each had.

        Neither those who have left, nor those who wait for more of their rows.
        """
        tickets = [part.ticket for part in self.parts]
        return [
            (it.source, it.rows)
            for it in tickets
            if it.source is not None and it.open and it.done == it.rows
        ]

    def launched(self, run: Run, now: float) -> None:
        """Note in the traces of its requests that it leaves as *run* at *now*."""
        for part in self.parts:
            trace = part.ticket.trace
            if trace is not None:
                trace.left(now - part.ticket.arrived)
                trace.runs.append(run)

    def scatter(self, results: Sequence[Result]) -> list[Ticket[Item, Result]]:
        """
        Hand each open request its result, and return those requests in order.

        Raises `ResultCountMismatch`, and then hands out nothing.
        """
        if len(results) != len(self.parts):
            raise ResultCountMismatch(expected=len(self.parts), got=len(results))
        tickets = []
        for part, result in zip(self.parts, results, strict=True):
            ticket = part.ticket
            if ticket.open:
                ticket.add(part, result)
                tickets.append(ticket)
        return tickets

    def halves(self) -> "list[Batch[Item, Result]]":
        """Return what is still wanted in two halves by pieces; one or none if that is all."""
        parts = self.wanted
        # Someone has left since: a lone survivor may be innocent, and is run once more.
        middle = (len(parts) + 1) // 2
        return [Batch(half) for half in (parts[:middle], parts[middle:]) if half]

    def cut(self, rows: int) -> "tuple[Batch[Item, Result], Batch[Item, Result]]":
        """Return the first *rows* rows and the rest, cutting a piece in two if it must."""
        first: list[Part[Item, Result]] = []
        rest: list[Part[Item, Result]] = []
        for part in self.parts:
            stop = min(part.stop, part.start + rows)
            if stop > part.start:
                first.append(Part(part.item, part.start, stop, part.ticket))
            if stop < part.stop:
                rest.append(Part(part.item, max(stop, part.start), part.stop, part.ticket))
            rows -= stop - part.start
        return Batch(first), Batch(rest)


class Retries(Generic[Item, Result]):
    """Batches that are to be run again, the oldest first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        # Number and first row are unique: no two batches are ever compared.
        self._heap: list[tuple[int, int, Batch[Item, Result]]] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def tickets(self) -> list[Ticket[Item, Result]]:
        """The open requests among them."""
        return [part.ticket for _, _, batch in sorted(self._heap) for part in batch.wanted]

    @property
    def rows(self) -> int:
        """Rows still wanted."""
        return sum(part.rows for _, _, batch in self._heap for part in batch.wanted)

    def push(self, batch: Batch[Item, Result]) -> None:
        """Keep *batch* until a lane is idle."""
        head = batch.parts[0]
        heappush(self._heap, (head.ticket.number, head.start, batch))

    def pop(self) -> Batch[Item, Result] | None:
        """Remove and return the oldest batch, within its cap, without closed requests."""
        while self._heap:
            parts = heappop(self._heap)[2].wanted
            if parts:
                batch = Batch(parts)
                if batch.rows > batch.profile.cap:
                    batch, rest = batch.cut(batch.profile.cap)
                    self.push(rest)
                return batch
        return None

    def expired(self, now: float) -> list[Ticket[Item, Result]]:
        """Return the open requests among them whose deadline has come."""
        if not self._heap:
            return []
        return [ticket for ticket in self.tickets if ticket.deadline <= now]

    def deadline(self) -> float:
        """Return the earliest deadline among the open requests; inf when there is none."""
        if not self._heap:
            return inf
        return min((ticket.deadline for ticket in self.tickets), default=inf)
