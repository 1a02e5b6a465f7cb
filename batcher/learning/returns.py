"""
Return-hold: predict when the few clients that were just answered send their next requests.

Clients that send one request after the other form groups that take turns on a lane, with a small
run for each group.  Merged, all groups share one run.  Merging saves run time, and costs the
time until all clients have returned.  Pure: the caller passes the answers, arrivals and launches.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import inf

MAX_RETURNS = 9  #: the number of last batches on whose returns the estimate is based
MIN_RETURNS = 3  #: the number of such batches before anything is predicted
STRAGGLER_DIVISOR = 16  #: one client in so many may be missing
MAX_PAUSE_BATCHES = 64  #: batches without a hold after many failed holds


@dataclass(frozen=True, slots=True)
class Returning:
    """The clients that are expected to return (to send their next request), and how soon."""

    rows: int  #: rows of the clients that were answered last and have not sent a request since
    since: float  #: the time at which they were answered
    fixed: float  #: expected seconds until all clients of a batch have returned,
    each: float  #: to which these seconds are added for each row of the batch
    held: bool = False  #: a batch waits for them, or has waited until now

    def within(self, rows: int) -> float:
        """Return the expected seconds until all clients of a batch of *rows* rows have returned."""
        return self.fixed + self.each * rows


NONE_RETURNING = Returning(0, 0.0, inf, 0.0)


@dataclass(frozen=True, slots=True)
class _Return:
    """The returns of the clients of one batch."""

    rows: int
    last: float = inf  #: seconds until all but the stragglers had returned; inf: they did not
    between: float = 0.0  #: seconds from the first to the last return
    followed: int = 0  #: rows that returned in that time


class Returns:
    """The clients that the last batch answered, and the return times of the clients before them."""

    __slots__ = (
        "_complete", "_failures", "_first", "_followed", "_held", "_max_missing", "_missing",
        "_pause", "_returns", "_rows", "_since",
    )  # fmt: skip

    def __init__(self) -> None:
        self._missing: dict[Hashable, int] = {}  # rows by source
        self._rows = 0  # of all answered sources
        self._max_missing = 0  # so many sources may be missing
        self._complete = True  # all but these have returned
        self._since = 0.0
        self._first = inf  # seconds until the first return
        self._followed = 0  # rows that returned since then
        self._returns: deque[_Return] = deque(maxlen=MAX_RETURNS)
        self._held = False
        self._failures = 0
        self._pause = 0

    def answered(self, completed_sources: Iterable[tuple[Hashable, int]], now: float) -> None:
        """
        Record that a batch has answered *completed_sources* at *now*.

        Each is a pair of a source and the rows of its request.
        """
        if not self._complete:
            self._returns.append(_Return(self._rows))
        self._missing = dict(completed_sources)
        self._rows = sum(self._missing.values())
        self._max_missing = len(self._missing) // STRAGGLER_DIVISOR
        self._complete = not self._missing
        self._since = now
        self._first = inf
        self._followed = 0

    def observe(self, source: Hashable, rows: int, now: float) -> bool:
        """
        Record that *source* has sent its next request, of *rows* rows.

        Return True if *source* was missing, its request has as many rows as its last one, and more
        sources are missing than the permitted number of stragglers; else False.
        """
        had = self._missing.pop(source, None)
        if had is None or self._complete:
            return False
        taken = now - self._since
        if self._first == inf:
            self._first = taken
        else:
            self._followed += had
        self._complete = len(self._missing) <= self._max_missing
        if self._complete:
            between = taken - self._first
            self._returns.append(_Return(self._rows, taken, between, self._followed))
        return had == rows and not self._complete

    def expect(self) -> Returning:
        """
        Return the rows of the missing clients and their expected return times.

        Return `NONE_RETURNING` while too few returns are known, and for some launches after a
        failed hold.  `Returning.each` is twice the average seconds between two returned rows,
        because answers are sent one after the other before any request returns; but at most the
        seconds until all clients had returned, divided by the rows of their batches.
        """
        if self._pause or len(self._returns) < MIN_RETURNS:
            return NONE_RETURNING
        seen = [it for it in self._returns if it.last < inf]
        if 2 * len(seen) <= len(self._returns):
            return NONE_RETURNING
        total, rows = sum(it.last for it in seen), sum(it.rows for it in seen)
        between, followed = sum(it.between for it in seen), sum(it.followed for it in seen)
        each = min(total / rows, 2.0 * between / followed) if followed else total / rows
        missing = 0 if self._complete else sum(self._missing.values())
        return Returning(missing, self._since, (total - each * rows) / len(seen), each, self._held)

    def hold(self) -> None:
        """Record that the launch of a batch is delayed for the missing sources."""
        self._held = True

    def launched(self) -> None:
        """
        Record the launch of a batch; if a hold is under way, the launch ends it.

        The hold has failed if more sources are missing than the permitted number of stragglers.
        After a failure, some launches are not delayed; each further failure doubles their number,
        up to `MAX_PAUSE_BATCHES`.
        """
        if self._held:
            self._held = False
            self._failures = 0 if self._complete else self._failures + 1
            self._pause = 0 if self._complete else min(MAX_PAUSE_BATCHES, 2**self._failures)
        elif self._pause:
            self._pause -= 1
