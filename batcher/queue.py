"""
The queue of one kind of run: the waiting requests, and what is known about these runs.

Requests of one priority are launched in order of arrival; the priorities take turns.  Belongs to
the reactor thread.  Reads no clock, owns no timer and fires no Deferred.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from operator import attrgetter
from typing import Generic

from batcher.errors import BatcherError, DeadlineExceeded, QueueFull
from batcher.executor import Item, Result
from batcher.learning.arrivals import ArrivalRate, Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.learning.margin import AdmissionMargin
from batcher.learning.returns import Returns
from batcher.policy import Policy, QueueView
from batcher.priority import SHARES, Priority, Turns
from batcher.request import Part, Request
from batcher.share import Share

#: No other queue of the account has waiting requests: see `Queue.take`.
NO_OTHER_HEADS: Mapping[int, int] = {}

_NORMAL = int(Priority.NORMAL)  # reading a member of an Enum is slow

#: The heap of deadlines is rebuilt when it grows beyond this number plus twice the entries that it
#: had after the last time.
_MIN_DEADLINES = 64


@dataclass(slots=True, eq=False)
class Queue(Generic[Item, Result]):
    """
    The waiting requests of one kind of run; only requests of the same queue share a batch.

    A queue belongs to one batcher.  Raises ValueError if *cap* or *max_queued_rows* is below 1.
    """

    latency: LatencyCurve  #: l(b), the time of its runs by rows
    cap: int  #: the largest batch, in rows; lowered after out of memory
    max_queued_rows: int  #: the limit of waiting rows; rows to be run again do not count
    name: str = ""  #: for reports
    share: Share | None = None  #: all queues without a share have one account
    policy: Policy | None = None  #: when it launches; None: by the policy of the batcher
    arrivals: ArrivalRate = field(default_factory=ArrivalRate)
    returns: Returns = field(default_factory=Returns)
    admission_margin: AdmissionMargin = field(default_factory=AdmissionMargin)
    rows: int = field(default=0, init=False)  #: waiting
    in_background: bool = field(default=False, init=False)  #: its share is a background share
    #: The number of waiting rows of each priority; the sum is `rows`.
    by_level: list[int] = field(default_factory=lambda: [0] * len(SHARES), init=False)
    # Linked, so that the head is found in constant time after any number of removals.
    _levels: tuple[OrderedDict[int, Request[Item, Result]], ...] = field(
        default_factory=lambda: tuple(OrderedDict() for _ in SHARES), init=False
    )
    # Sequence numbers, not requests: a request that is no longer waiting must not stay in memory.
    _deadlines: list[tuple[float, int, Priority]] = field(default_factory=list, init=False)
    _max_deadlines: int = field(default=_MIN_DEADLINES, init=False)

    def __post_init__(self) -> None:
        if self.cap < 1 or self.max_queued_rows < 1:
            raise ValueError(
                "a queue needs a cap and a limit of at least 1 row, "
                f"not {self.cap} and {self.max_queued_rows} rows"
            )
        self.in_background = self.share is not None and self.share.background

    # What is known about its runs.

    @property
    def margin(self) -> float:
        """The factor by which the time allowed must exceed the expected time, for admission."""
        return self.latency.margin * self.admission_margin.factor

    def expected(self, now: float) -> Arrivals:
        """Return the arrival rate and the additional rows expected at *now*; changes nothing."""
        return self.arrivals.expect(now, self.latency.predict(self.cap))

    def update_arrivals(self, now: float) -> None:
        """Update the arrival rate at *now*, for the next `view`."""
        self.arrivals.update(now, self.latency.predict(self.cap))

    # The requests that wait.

    def first_waiting(self, level: int) -> Request[Item, Result]:
        """Return the oldest request of the priority *level*, which must have waiting requests."""
        return next(iter(self._levels[level].values()))

    @property
    def oldest(self) -> float:
        """The arrival time of the oldest waiting request; the queue must not be empty."""
        return min(self.first_waiting(level).arrived for level in self.levels)

    @property
    def levels(self) -> list[int]:
        """The priorities that have waiting requests."""
        return [level for level, requests in enumerate(self._levels) if requests]

    def has_waiting(self, level: int) -> bool:
        """Return whether a request of the priority *level* waits."""
        return bool(self._levels[level])

    @property
    def requests(self) -> list[Request[Item, Result]]:
        """The waiting requests, the oldest first."""
        waiting = [request for level in self._levels for request in level.values()]
        return sorted(waiting, key=attrgetter("number"))

    def view(self, turns: Turns, *, draining: bool) -> QueueView:
        """Return the state of this queue for the policy; the queue must not be empty."""
        head = self.first_waiting(self.next_level(turns))
        return QueueView(
            self.rows,
            self.oldest,
            self.deadline(),
            draining,
            self.latency,
            self.arrivals.latest,
            self.returns.expect(),
            head.deadline,
            head.deadline - head.arrived,
        )

    def refusal(self, rows: int, deadline: float, now: float) -> BatcherError | None:
        """Return the error that refuses *rows* further rows at *now*; None if they may wait."""
        if deadline <= now:
            return DeadlineExceeded(now - deadline, "submit")
        if self.rows + rows > self.max_queued_rows:
            return QueueFull(rows, self.rows, self.max_queued_rows)
        return None

    def push(self, request: Request[Item, Result]) -> None:
        """Append *request*; none of its rows may have been launched."""
        self._levels[request.priority][request.number] = request
        self._count(request.priority, request.rows)
        if request.deadline < inf:
            heappush(self._deadlines, (request.deadline, request.number, request.priority))
            if len(self._deadlines) > self._max_deadlines:
                self._drop_stale_deadlines()

    def take(
        self,
        turns: Turns,
        rows: int,
        finish: float = -inf,
        other_heads: Mapping[int, int] = NO_OTHER_HEADS,
    ) -> tuple[list[Part[Item, Result]], list[Request[Item, Result]]]:
        """
        Remove up to *rows* rows in the order of *turns*, and charge them; a request may be cut.

        Returns the parts for the batch, and the requests that are removed as too late because
        their deadline is before *finish*.  If the first request is too late, the list of parts is
        empty, because the next turn may belong to another queue.

        *other_heads* maps a priority to the sequence number of the oldest request in the other
        queues of the account.  Rows of younger requests than that one fill the batch uncharged.
        """
        parts: list[Part[Item, Result]] = []
        late: list[Request[Item, Result]] = []
        order = turns.copy() if other_heads else turns
        while rows > 0 and self.rows:
            level = self.next_level(order)
            request = self.first_waiting(level)
            if request.deadline < finish:
                late.append(request)
                self.remove(request)
                continue
            if not parts:
                if late:
                    break
                turns.start_turn(level)
            start, stop = request.taken, min(request.rows, request.taken + rows)
            if stop == request.rows:
                self._levels[level].popitem(last=False)
            request.taken = stop
            parts.append(Part(request.item, start, stop, request))
            rows -= stop - start
            self._count(level, start - stop)
            order.charge(level, stop - start)
            if order is not turns and request.number < other_heads.get(level, inf):
                turns.charge(level, stop - start)
        return parts, late

    def remove(self, request: Request[Item, Result]) -> None:
        """Remove the waiting rows of *request*, if there are any."""
        if self._levels[request.priority].pop(request.number, None) is not None:
            self._count(request.priority, request.taken - request.rows)

    def clear(self) -> None:
        """Drop the stored deadlines; the caller ensures that no request waits."""
        self._deadlines.clear()
        self._max_deadlines = _MIN_DEADLINES

    def deadline(self) -> float:
        """Return the earliest deadline of the waiting requests; inf if there is none."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._levels[deadlines[0][2]]:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else inf

    def pop_expired(self, now: float) -> list[Request[Item, Result]]:
        """
        Remove the deadlines that are at most *now* and return their requests.

        The rows of these requests stay in the queue until the caller removes them.
        """
        found = []
        while self.deadline() <= now:
            _, number, level = heappop(self._deadlines)
            found.append(self._levels[level][number])
        return found

    def next_level(self, turns: Turns) -> int:
        """Return the priority that has the turn among those with waiting requests."""
        high, normal, low = self._levels
        if not (high or low):
            return _NORMAL
        return turns.next(self.levels)[0] if normal or (high and low) else self.levels[0]

    def _count(self, level: int, rows: int) -> None:
        """Add *rows*, which may be negative, to the waiting rows of *level* and to their sum."""
        self.rows += rows
        self.by_level[level] += rows

    def _drop_stale_deadlines(self) -> None:
        """Remove the deadlines of requests that no longer wait."""
        self._deadlines = [at for at in self._deadlines if at[1] in self._levels[at[2]]]
        heapify(self._deadlines)
        self._max_deadlines = 2 * len(self._deadlines) + _MIN_DEADLINES
