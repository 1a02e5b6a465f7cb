"""
The rows that wait: one queue per profile, in order of arrival, left by launch, cancel or expiry.

Pure: told the time, owns no timer and fires no Deferred.  Counts rows, never requests.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Generic

from batcher.executor import Item, Piece, Result
from batcher.policy import QueueView
from batcher.profile import Profile
from batcher.trace import Trace

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from batcher.errors import BatcherError

_SLACK = 64  #: deadlines of the departed that a queue may remember before it forgets them all


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item, Result]):
    """One submitted request, from its arrival to its answer."""

    number: int  #: of arrival: the order in everything
    item: Item
    rows: int
    profile: Profile
    arrived: float
    deadline: float = inf
    trace: Trace | None = None
    taken: int = 0  #: rows that have left the queue
    missing: int = field(init=False)  #: rows without a result
    results: list[tuple[int, Result]] = field(default_factory=list)  #: with the first row of each
    open: bool = True  #: still wants rows to be run
    error: "BatcherError | None" = None  #: what it ends with, if not with its results
    answer: "Deferred[Result] | None" = None  #: what it was promised, until that has fired

    def __post_init__(self) -> None:
        self.missing = self.rows

    def note_wait(self, now: float) -> None:
        """Write into the trace how long it queued, unless that is already known."""
        if self.trace is not None and self.trace.queued is None:
            self.trace.queued = max(0.0, now - self.arrived)

    def add(self, piece: Piece[Item], result: Result) -> None:
        """Keep the *result* of one of its pieces."""
        self.results.append((piece.start, result))
        self.missing -= piece.rows

    def joined(self, join: Callable[[Sequence[Result]], Result]) -> Result:
        """Return the whole result, its parts in order of rows; *join* is asked only for several."""
        if len(self.results) == 1:
            return self.results[0][1]
        return join([result for _, result in sorted(self.results, key=_first_row)])


def _first_row(part: tuple[int, object]) -> int:
    return part[0]


@dataclass(slots=True, eq=False)
class Part(Piece[Item], Generic[Item, Result]):
    """A piece that knows whose it is."""

    ticket: Ticket[Item, Result]


class ProfileQueue(Generic[Item, Result]):
    """The tickets of one profile that have rows waiting, in order of arrival."""

    __slots__ = ("_deadlines", "_tickets", "profile", "rows")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.rows = 0
        # Linked, so that the head is found at once however many have left before it.
        self._tickets: OrderedDict[int, Ticket[Item, Result]] = OrderedDict()
        # Numbers, not tickets: a number whose ticket has left holds no payload.
        self._deadlines: list[tuple[float, int]] = []

    @property
    def head(self) -> Ticket[Item, Result]:
        """The oldest ticket; there must be one."""
        return next(iter(self._tickets.values()))

    @property
    def tickets(self) -> list[Ticket[Item, Result]]:
        """Everyone who waits, the oldest first."""
        return list(self._tickets.values())

    def view(self, *, draining: bool) -> QueueView:
        """Return what a policy may see."""
        return QueueView(
            self.rows, self.head.arrived, self.deadline(), draining, self.profile.latency
        )

    def push(self, ticket: Ticket[Item, Result]) -> None:
        """Append a ticket that has all its rows."""
        self._tickets[ticket.number] = ticket
        self.rows += ticket.rows
        if ticket.deadline < inf:
            heappush(self._deadlines, (ticket.deadline, ticket.number))
            if len(self._deadlines) > 2 * len(self._tickets) + _SLACK:
                self._deadlines = [at for at in self._deadlines if at[1] in self._tickets]
                heapify(self._deadlines)

    def take(self, rows: int) -> list[Part[Item, Result]]:
        """Remove and return the *rows* oldest rows, or all there are; the last may be a part."""
        parts: list[Part[Item, Result]] = []
        while rows > 0 and self._tickets:
            ticket = self.head
            start = ticket.taken
            stop = ticket.taken = min(ticket.rows, start + rows)
            parts.append(Part(ticket.item, start, stop, ticket))
            rows -= stop - start
            self.rows -= stop - start
            if stop == ticket.rows:
                del self._tickets[ticket.number]
        return parts

    def remove(self, ticket: Ticket[Item, Result]) -> int:
        """Remove the waiting rows of *ticket* and return how many there were."""
        if self._tickets.pop(ticket.number, None) is None:
            return 0
        rows = ticket.rows - ticket.taken
        self.rows -= rows
        return rows

    def deadline(self) -> float:
        """Return the earliest deadline waiting; inf when there is none."""
        while self._deadlines and self._deadlines[0][1] not in self._tickets:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else inf

    def expired(self, now: float) -> list[Ticket[Item, Result]]:
        """Return, and keep, those whose deadline has come, the earliest deadline first."""
        found = []
        while self.deadline() <= now:
            found.append(self._tickets[heappop(self._deadlines)[1]])
        return found


class Pending(Generic[Item, Result]):
    """Every queue that is not empty, by profile."""

    __slots__ = ("_queues", "rows")

    def __init__(self) -> None:
        self.rows = 0  #: rows waiting, of all profiles
        self._queues: dict[Profile, ProfileQueue[Item, Result]] = {}

    def push(self, ticket: Ticket[Item, Result]) -> None:
        """Append *ticket* to the queue of its profile."""
        queue = self._queues.get(ticket.profile)
        if queue is None:
            queue = self._queues[ticket.profile] = ProfileQueue(ticket.profile)
        queue.push(ticket)
        self.rows += ticket.rows

    def by_age(self) -> list[ProfileQueue[Item, Result]]:
        """Return the queues, the oldest head first, so that none can be starved by a busier one."""
        queues = list(self._queues.values())
        if len(queues) > 1:
            queues.sort(key=_age)
        return queues

    def rows_of(self, profile: Profile) -> int:
        """Return how many rows of *profile* wait."""
        queue = self._queues.get(profile)
        return 0 if queue is None else queue.rows

    def take(self, profile: Profile, rows: int) -> list[Part[Item, Result]]:
        """Remove and return the *rows* oldest rows of *profile*."""
        queue = self._queues[profile]
        parts = queue.take(rows)
        self.rows -= sum(part.rows for part in parts)
        self._forget_if_empty(queue)
        return parts

    def remove(self, ticket: Ticket[Item, Result]) -> None:
        """Remove what still waits of *ticket*, if anything."""
        queue = self._queues.get(ticket.profile)
        if queue is not None:
            self.rows -= queue.remove(ticket)
            self._forget_if_empty(queue)

    def deadline(self) -> float:
        """Return the earliest deadline waiting; inf when there is none."""
        return min((queue.deadline() for queue in self._queues.values()), default=inf)

    def expired(self, now: float) -> list[Ticket[Item, Result]]:
        """Remove and return those whose deadline has come."""
        found = [ticket for queue in self._queues.values() for ticket in queue.expired(now)]
        for ticket in found:
            self.remove(ticket)
        return found

    def _forget_if_empty(self, queue: ProfileQueue[Item, Result]) -> None:
        if queue.rows == 0:
            del self._queues[queue.profile]


def _age(queue: ProfileQueue[Item, Result]) -> int:
    return queue.head.number
