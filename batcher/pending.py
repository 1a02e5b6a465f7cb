"""
The rows that wait: one queue per profile, left by launch, cancel or expiry.

In order of arrival within a priority; the priorities take turns.

Pure: told the time, owns no timer and fires no Deferred.  Counts rows, never requests.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Generic, cast

from batcher.executor import Item, Piece, Result
from batcher.policy import QueueView
from batcher.priority import SHARES, Priority, Turns
from batcher.profile import Profile
from batcher.trace import Trace

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from batcher.errors import BatcherError

#: By priority, the number of nobody.
NOBODY_ELSE: Mapping[int, int] = {}

_NORMAL = int(Priority.NORMAL)  # the attribute of an Enum is slow to find
_SLACK = 64  #: more deadlines than twice as many as waited then, and the departed are forgotten


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item, Result]):
    """One submitted request, from its arrival to its answer."""

    number: int  #: of arrival: the order in everything
    item: Item
    rows: int
    profile: Profile
    arrived: float
    deadline: float = inf
    priority: Priority = Priority.NORMAL
    source: Hashable | None = None  #: who sends one request after the other, such as a connection
    trace: Trace | None = None
    taken: int = 0  #: rows that have left the queue
    done: int = 0  #: rows that have a result
    result: Result | None = None  #: of all rows, where they rode together
    results: list[tuple[int, Result]] | None = None  #: else of each part, with its first row
    open: bool = True  #: still wants rows to be run
    error: "BatcherError | None" = None  #: what it ends with, if not with its results
    answer: "Deferred[Result] | None" = None  #: what it was promised, until that has fired

    def used(self, now: float) -> float:
        """Return the share of its time that has gone by at *now*; 0.0 where it has any time."""
        return (now - self.arrived) / (self.deadline - self.arrived)

    def add(self, piece: Piece[Item], result: Result) -> None:
        """Keep the *result* of one of its pieces."""
        rows = piece.stop - piece.start
        self.done += rows
        if rows == self.rows:
            self.result = result
        elif self.results is None:
            self.results = [(piece.start, result)]
        else:
            self.results.append((piece.start, result))

    def joined(self, join: Callable[[Sequence[Result]], Result]) -> Result:
        """Return the result of all rows, which must be done; *join* is asked only for several."""
        if self.results is None:
            return cast("Result", self.result)
        return join([result for _, result in sorted(self.results, key=_first_row)])


def _first_row(part: tuple[int, object]) -> int:
    return part[0]


@dataclass(slots=True, eq=False)
class Part(Piece[Item], Generic[Item, Result]):
    """A piece that knows whose it is."""

    ticket: Ticket[Item, Result]


class ProfileQueue(Generic[Item, Result]):
    """The tickets of one profile that have rows waiting."""

    __slots__ = (
        "_deadlines",
        "_levels",
        "_most_deadlines",
        "_turns",
        "by_level",
        "profile",
        "rows",
    )

    def __init__(self, profile: Profile, turns: Turns) -> None:
        self.profile = profile
        self.rows = 0
        self.by_level = [0] * len(SHARES)  #: rows of each priority; their sum is `rows`
        self._turns = turns
        # Linked, so that a head is found at once however many have left before it.
        self._levels: tuple[OrderedDict[int, Ticket[Item, Result]], ...] = tuple(
            OrderedDict() for _ in SHARES
        )
        # Numbers, not tickets: a number whose ticket has left holds no payload.
        self._deadlines: list[tuple[float, int, Priority]] = []
        self._most_deadlines = _SLACK

    @property
    def head(self) -> Ticket[Item, Result]:
        """The ticket whose turn it is; there must be one."""
        return self.head_of(self.turn(self._turns))

    def head_of(self, level: int) -> Ticket[Item, Result]:
        """Return the oldest ticket of *level*; there must be one."""
        return next(iter(self._levels[level].values()))

    @property
    def oldest(self) -> float:
        """When the oldest ticket arrived."""
        return min(self.head_of(level).arrived for level in self.levels)

    @property
    def levels(self) -> list[int]:
        """The priorities in which somebody waits."""
        return [level for level, tickets in enumerate(self._levels) if tickets]

    def waits(self, level: int) -> bool:
        """Return whether anybody of *level* waits."""
        return bool(self._levels[level])

    @property
    def tickets(self) -> list[Ticket[Item, Result]]:
        """Everyone who waits, the oldest first."""
        everyone = [ticket for level in self._levels for ticket in level.values()]
        return sorted(everyone, key=_number)

    def view(self, now: float, *, draining: bool) -> QueueView:
        """Return what a policy may see."""
        return QueueView(
            self.rows,
            self.oldest,
            self.deadline(),
            draining,
            self.profile.latency,
            self.profile.expected(now),
            self.profile.returns.expect(),
            self.head.deadline,
        )

    def push(self, ticket: Ticket[Item, Result]) -> None:
        """Append a ticket that has all its rows."""
        self._levels[ticket.priority][ticket.number] = ticket
        self._count(ticket.priority, ticket.rows)
        if ticket.deadline < inf:
            heappush(self._deadlines, (ticket.deadline, ticket.number, ticket.priority))
            if len(self._deadlines) > self._most_deadlines:
                self._forget_the_departed()

    def take(
        self, rows: int, finish: float = -inf, elsewhere: Mapping[int, int] = NOBODY_ELSE
    ) -> tuple[list[Part[Item, Result]], list[Ticket[Item, Result]]]:
        """
        Remove the next *rows* rows, or all there are; the last ticket may leave in part.

        Those on the way whose deadline is before *finish* are removed, too, and returned apart.
        After one whose turn it was, it may be another queue's: then nobody is taken.  It is no turn
        of a priority if one is taken who is younger than its number *elsewhere*.
        """
        parts: list[Part[Item, Result]] = []
        late: list[Ticket[Item, Result]] = []
        turns = self._turns.copy() if elsewhere else self._turns
        while rows > 0 and self.rows:
            level = self.turn(turns)
            tickets = self._levels[level]
            _, ticket = tickets.popitem(last=False)
            start, stop = ticket.taken, ticket.rows
            if ticket.deadline < finish:
                late.append(ticket)
                self._count(level, start - stop)
                continue
            if not parts:
                if late:
                    _put_back(tickets, ticket)
                    break
                self._turns.go(level)
            if stop - start > rows:
                stop = start + rows
                _put_back(tickets, ticket)
            ticket.taken = stop
            parts.append(Part(ticket.item, start, stop, ticket))
            rows -= stop - start
            self._count(level, start - stop)
            turns.pay(level, stop - start)
            if turns is not self._turns and ticket.number < elsewhere.get(level, inf):
                self._turns.pay(level, stop - start)
        return parts, late

    def remove(self, ticket: Ticket[Item, Result]) -> int:
        """Remove the waiting rows of *ticket* and return how many there were."""
        if self._levels[ticket.priority].pop(ticket.number, None) is None:
            return 0
        rows = ticket.rows - ticket.taken
        self._count(ticket.priority, -rows)
        return rows

    def deadline(self) -> float:
        """Return the earliest deadline waiting; inf when there is none."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._levels[deadlines[0][2]]:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else inf

    def expired(self, now: float) -> list[Ticket[Item, Result]]:
        """Return, and keep, those whose deadline has come, the earliest deadline first."""
        found = []
        while self.deadline() <= now:
            _, number, level = heappop(self._deadlines)
            found.append(self._levels[level][number])
        return found

    def turn(self, turns: Turns) -> int:
        """Return the priority whose turn it is, of those in which somebody waits."""
        high, normal, low = self._levels
        if not (high or low):
            return _NORMAL
        return turns.next(self.levels)[0] if normal or (high and low) else self.levels[0]

    def _count(self, level: int, rows: int) -> None:
        """Note that *rows* more rows of *level* wait, or fewer."""
        self.rows += rows
        self.by_level[level] += rows

    def _forget_the_departed(self) -> None:
        """Keep only the deadlines of those who wait."""
        self._deadlines = [at for at in self._deadlines if at[1] in self._levels[at[2]]]
        heapify(self._deadlines)
        self._most_deadlines = 2 * len(self._deadlines) + _SLACK


class Pending(Generic[Item, Result]):
    """Every queue that is not empty, by profile."""

    __slots__ = ("_queues", "_turns", "rows")

    def __init__(self) -> None:
        self.rows = 0  #: rows waiting, of all profiles
        self._turns = Turns()
        self._queues: dict[Profile, ProfileQueue[Item, Result]] = {}

    def push(self, ticket: Ticket[Item, Result]) -> None:
        """Append *ticket* to the queue of its profile."""
        queue = self._queues.get(ticket.profile)
        if queue is None:
            queue = self._queues[ticket.profile] = ProfileQueue(ticket.profile, self._turns)
        queue.push(ticket)
        self.rows += ticket.rows

    def by_turn(self) -> list[ProfileQueue[Item, Result]]:
        """
        Return the queues in the order in which they may launch.

        First those in which the priority waits whose turn it is, the oldest head first, so that
        none can be starved by a busier one.
        """
        queues = list(self._queues.values())
        if len(queues) < 2:
            return queues
        order: dict[ProfileQueue[Item, Result], None] = {}
        for level in self._turns.next(range(len(SHARES))):
            waiting = [(q.head_of(level).number, q) for q in queues if q.waits(level)]
            order.update((queue, None) for _, queue in sorted(waiting, key=_first))
        return list(order)

    @property
    def tickets(self) -> list[Ticket[Item, Result]]:
        """Everyone who waits."""
        return [ticket for queue in self._queues.values() for ticket in queue.tickets]

    def of(self, profile: Profile) -> ProfileQueue[Item, Result] | None:
        """Return the queue of *profile*, if anybody waits in it."""
        return self._queues.get(profile)

    def rows_of(self, profile: Profile) -> int:
        """Return how many rows of *profile* wait."""
        queue = self._queues.get(profile)
        return 0 if queue is None else queue.rows

    def deadline_of(self, profile: Profile) -> float:
        """Return the earliest deadline of *profile* waiting; inf when there is none."""
        queue = self._queues.get(profile)
        return inf if queue is None else queue.deadline()

    def take(
        self, profile: Profile, rows: int, finish: float = -inf
    ) -> tuple[list[Part[Item, Result]], list[Ticket[Item, Result]]]:
        """Remove and return the next *rows* rows of *profile*, as `ProfileQueue.take` does."""
        queue = self._queues[profile]
        before = queue.rows
        taken = queue.take(rows, finish, self._elsewhere(queue))
        self.rows -= before - queue.rows
        self._forget_if_empty(queue)
        return taken

    def remove(self, ticket: Ticket[Item, Result]) -> None:
        """Remove what still waits of *ticket*, if anything."""
        queue = self._queues.get(ticket.profile)
        if queue is not None:
            self.rows -= queue.remove(ticket)
            self._forget_if_empty(queue)

    def deadline(self) -> float:
        """Return the earliest deadline waiting; inf when there is none."""
        earliest = inf
        for queue in self._queues.values():
            earliest = min(earliest, queue.deadline())
        return earliest

    def expired(self, now: float) -> list[Ticket[Item, Result]]:
        """Remove and return those whose deadline has come."""
        if self.deadline() > now:
            return []
        found = [ticket for queue in self._queues.values() for ticket in queue.expired(now)]
        for ticket in found:
            self.remove(ticket)
        return found

    def _elsewhere(self, queue: ProfileQueue[Item, Result]) -> Mapping[int, int]:
        """
        Return the number of the oldest in other queues, by priority; not that whose turn it is.

        He would never have his turn if those of *queue* had it in the midst of every batch.
        """
        if len(self._queues) < 2:
            return NOBODY_ELSE
        turn = queue.turn(self._turns)
        others = [other for other in self._queues.values() if other is not queue]
        heads = {
            level: [other.head_of(level).number for other in others if other.waits(level)]
            for level in queue.levels
            if level != turn
        }
        return {level: min(numbers) for level, numbers in heads.items() if numbers}

    def _forget_if_empty(self, queue: ProfileQueue[Item, Result]) -> None:
        if queue.rows == 0:
            del self._queues[queue.profile]


def _number(ticket: Ticket[Item, Result]) -> int:
    return ticket.number


def _first(pair: tuple[int, object]) -> int:
    return pair[0]


def _put_back(
    tickets: OrderedDict[int, Ticket[Item, Result]], ticket: Ticket[Item, Result]
) -> None:
    """Have *ticket* be the first again."""
    tickets[ticket.number] = ticket
    tickets.move_to_end(ticket.number, last=False)
