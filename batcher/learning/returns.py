"""
Return-hold: the few clients who were just answered may be about to come back.

Clients who send one request after the other fall into groups that take turns on a lane, each run
a small one.  Merged, all of them ride in one.  Merging is worth the time that runs are shorter
together than apart, and costs the time until all are back.  Pure: told who was answered, who came
and what left; says whom to expect.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import inf

REMEMBERED = 9  #: batches whose returns are remembered
ENOUGH = 3  #: of them before anybody is expected
STRAGGLERS = 16  #: of so many, one may be missing
LONGEST_PAUSE = 64  #: batches without a hold after many that failed


@dataclass(frozen=True, slots=True)
class Returning:
    """Who is expected back."""

    rows: int  #: so many rows of those who were answered last have not come again yet
    since: float  #: when they were answered
    fixed: float  #: seconds until a batch is back, however small it is,
    each: float  #: and for each of its rows
    held: bool = False  #: a batch waits for them, or has until now

    def within(self, rows: int) -> float:
        """Return the seconds until a batch of *rows* rows is back."""
        return self.fixed + self.each * rows


NOBODY = Returning(0, 0.0, inf, 0.0)


@dataclass(frozen=True, slots=True)
class _Return:
    """How a batch came back."""

    rows: int
    last: float = inf  #: seconds until all but a few were back; inf if they never were
    between: float = 0.0  #: seconds from the first to the last
    followed: int = 0  #: rows that came in that time


class Returns:
    """Who was answered by the last batch, and how soon such clients come back."""

    __slots__ = (
        "_back",
        "_failures",
        "_few",
        "_first",
        "_followed",
        "_held",
        "_missing",
        "_pause",
        "_rows",
        "_since",
        "_taken"
    )  # fmt: skip

    def __init__(self) -> None:
        self._missing: dict[Hashable, int] = {}  # rows that each had
        self._rows = 0  # of all who were answered
        self._few = 0  # so many may be missing
        self._back = True  # all but a few have been seen again
        self._since = 0.0
        self._first = inf  # seconds until the first was back
        self._followed = 0  # rows that have come since
        self._taken: deque[_Return] = deque(maxlen=REMEMBERED)
        self._held = False
        self._failures = 0
        self._pause = 0

    def answered(self, riders: Iterable[tuple[Hashable, int]], now: float) -> None:
        """Expect *riders*, sources and their rows, of a batch that ended at *now*."""
        if not self._back:
            self._taken.append(_Return(self._rows))
        self._missing = dict(riders)
        self._rows = sum(self._missing.values())
        self._few = len(self._missing) // STRAGGLERS
        self._back = not self._missing
        self._since = now
        self._first = inf
        self._followed = 0

    def came(self, source: Hashable, rows: int, now: float) -> bool:
        """
        Note that *source* has sent its next request, of *rows* rows.

        Return whether that was foreseen, and more are still to come.
        """
        had = self._missing.pop(source, None)
        if had is None or self._back:
            return False
        taken = now - self._since
        if self._first == inf:
            self._first = taken
        else:
            self._followed += had
        self._back = len(self._missing) <= self._few
        if self._back:
            between = taken - self._first
            self._taken.append(_Return(self._rows, taken, between, self._followed))
        return had == rows and not self._back

    def expect(self) -> Returning:
        """
        Return whom to expect; nobody where that is not known, or has failed lately.

        Of more rows than came back until now, each is expected to take as long as passed between
        one and the next of these, and as much again for its answer, which goes out before any comes
        back; but not more than its share of all the time.
        """
        if self._pause or len(self._taken) < ENOUGH:
            return NOBODY
        seen = [taken for taken in self._taken if taken.last < inf]
        if 2 * len(seen) <= len(self._taken):
            return NOBODY
        total, rows = sum(taken.last for taken in seen), sum(taken.rows for taken in seen)
        between, followed = sum(it.between for it in seen), sum(it.followed for it in seen)
        each = min(total / rows, 2.0 * between / followed) if followed else total / rows
        missing = 0 if self._back else sum(self._missing.values())
        return Returning(missing, self._since, (total - each * rows) / len(seen), each, self._held)

    def hold(self) -> None:
        """Note that a batch waits for them."""
        self._held = True

    def left(self) -> None:
        """Note that a batch has left: the hold that it ends has failed if somebody is missing."""
        if self._held:
            self._held = False
            self._failures = 0 if self._back else self._failures + 1
            self._pause = 0 if self._back else min(LONGEST_PAUSE, 2**self._failures)
        elif self._pause:
            self._pause -= 1
