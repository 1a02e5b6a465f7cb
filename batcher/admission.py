"""
The door: who is taken in, and why the others are not.

Looks at what waits, at what is to be run again and at the lanes, counts those refused, and learns
from those who were let in and came too late.  Told the time; fires no Deferred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic

from batcher.batch import Retries
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    Overloaded,
    QueueFull,
    RunHung,
    ShuttingDown,
)
from batcher.executor import Item, Result
from batcher.lanes import Flights
from batcher.pending import Pending, Ticket
from batcher.policy import LatencyModel, fitting
from batcher.priority import SHARES, Priority
from batcher.profile import Profile
from batcher.stats import Totals

#: Runs of one row, of the time of which nothing has run: then whoever comes is let in.
DOUBTED = 8.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands between a row that comes now and its run."""

    rows: int  #: that leave before it
    free_in: float  #: until the first lane is idle
    lanes: int
    cap: int  #: the most rows a batch may have


class Door(Generic[Item, Result]):
    """Open until it is shut for good."""

    __slots__ = ("_flights", "_pending", "_probe", "_retries", "_totals", "open")

    def __init__(
        self,
        pending: Pending[Item, Result],
        retries: Retries[Item, Result],
        flights: Flights[Item, Result],
        totals: Totals,
    ) -> None:
        """Judge by *pending*, *retries* and *flights*; count who is refused in *totals*."""
        self._pending = pending
        self._retries = retries
        self._flights = flights
        self._totals = totals
        self.open = True  #: whether anybody is taken in
        # Who was let in though he would be late, as far as anybody knows, until that has shown.  He
        # is known by his deadline; who named no timeout gets another one later, and tells as usual.
        self._probe: tuple[Profile, float] | None = None

    @property
    def quiet(self) -> bool:
        """Whether nothing runs or waits."""
        return not (self._flights or self._pending.rows)

    def shut(self) -> None:
        """Take nobody in from now on."""
        self.open = False

    def refusal(
        self, now: float, rows: int, profile: Profile, deadline: float
    ) -> BatcherError | None:
        """Return why a request that is here cannot be taken in, and count it; None where it can."""
        closed = self._closed()
        if closed is not None:
            self._totals.refused += rows
            return closed
        if deadline <= now:
            self._totals.expired += rows
            self.late(profile, rows, deadline, now)
            return DeadlineExceeded(now - deadline, "submit")
        waiting = self._pending.rows_of(profile)
        if waiting + rows > profile.max_queued_rows:
            self._totals.refused += rows
            return QueueFull(rows, waiting, profile.max_queued_rows)
        return None

    def admit(
        self, now: float, profile: Profile, deadline: float, priority: Priority, ahead: int
    ) -> None:
        """
        Raise `Overloaded` where a row of *profile* that came now would miss its *deadline*.

        Not after a long silence: then one is let in all the same, and what becomes of it tells.
        *ahead* are the rows that were let in and are not here yet.  Raises `ShuttingDown` and
        `RunHung`, too.
        """
        closed = self._closed()
        if closed is not None:
            raise closed
        if deadline == inf:
            return
        backlog, allowed = self._backlog(now, profile, priority, ahead), deadline - now
        wait = _wait(backlog, profile, allowed)
        if wait > allowed and profile.learn():
            wait = _wait(backlog, profile, allowed)
        if wait <= allowed:
            return
        if ahead or not self._is_doubtful(profile, now):
            raise Overloaded(wait, allowed)
        self._probe = profile, deadline

    def in_time(self, ticket: Ticket[Item, Result], now: float) -> None:
        """Note that the batch in which *ticket* was the first came in time, at *now*."""
        if (ticket.profile, ticket.deadline) != self._probe:
            ticket.profile.caution.in_time(ticket.used(now))
        elif ticket.done == ticket.rows:
            self._probe = None
            ticket.profile.caution.overdone()

    def late(self, profile: Profile, rows: int, deadline: float, now: float) -> None:
        """Note that a request of so many *rows*, which was let in, came too late."""
        if (profile, deadline) == self._probe:
            self._probe = None
            return  # as was to be expected
        pause = profile.latency.predict(profile.cap) / self._flights.lanes
        # A request of many rows was let in as if it had one; of new runs nobody knew anything.
        if rows <= profile.cap and pause > 0.0:
            profile.caution.late(now, pause)

    def _is_doubtful(self, profile: Profile, now: float) -> bool:
        """
        Whether nothing has run for so long that what is believed of *profile* is to be tried.

        Where everybody is refused, nobody else would ever show that it has become wrong.
        """
        if self._probe is not None and now < self._probe[1]:
            return False  # one is enough, and on his way
        idle_for = now - self._flights.landed
        return self.quiet and idle_for >= DOUBTED * profile.latency.predict(1)

    def _closed(self) -> BatcherError | None:
        """Return why nobody at all is taken in, if that is so."""
        if not self.open:
            return ShuttingDown()
        if self._flights.all_hung:
            return RunHung(self._flights.run_timeout)
        return None

    def _backlog(self, now: float, profile: Profile, priority: Priority, ahead: int) -> Backlog:
        """Return what stands between a row that comes now and its run."""
        rows = ahead + self._retries.rows
        for queue in self._pending.by_turn():
            rows += rows_before(priority, queue.by_level)
        lanes = max(1, self._flights.lanes - self._flights.hung)
        return Backlog(rows, self._flights.free_in(now), lanes, profile.cap)


def _wait(backlog: Backlog, profile: Profile, allowed: float) -> float:
    """Return how long a row behind *backlog* must be ready to wait for its answer."""
    return expected_wait(backlog, profile.latency, allowed) * profile.margin


def expected_wait(backlog: Backlog, latency: LatencyModel, allowed: float) -> float:
    """
    Return the seconds until the answer of a row that comes now.

    Batches are as large as the policy lets them be for *allowed* seconds to a deadline, and leave
    from all lanes, one after the other.
    """
    sizes = fitting(latency.sizes(backlog.cap), allowed)
    largest = sizes.rows[-1] if sizes.rows else backlog.cap
    batches, rest = divmod(backlog.rows, largest)
    in_between = latency.predict(largest) / backlog.lanes
    return backlog.free_in + batches * in_between + latency.predict(rest + 1)


def rows_before(priority: Priority, waiting: Sequence[int]) -> int:
    """Return how many of the rows *waiting*, by priority, leave before one that comes now."""
    own = waiting[priority]
    share = SHARES[priority]
    others = (
        min(rows, (own + 1) * SHARES[level] // share)
        for level, rows in enumerate(waiting)
        if level != priority
    )
    return own + sum(others)
