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
from statistics import fmean

MAX_SOURCES = 8  #: larger batches are not waited for: a shared run saves little
MAX_RETURNS = 9  #: the number of last batches on whose returns the estimate is based
MIN_RETURNS = 3  #: the number of such batches before anything is predicted
MIN_RETURNED_SHARE = 2 / 3  #: of these batches, whose clients have all returned


@dataclass(frozen=True, slots=True)
class Returning:
    """The clients that are expected to return (to send their next request), and how soon."""

    rows: int  #: rows of the clients that were answered last and have not sent a request since
    since: float  #: the time at which they were answered
    each: float  #: expected seconds until all clients have returned, for each of their rows
    held: bool = False  #: a batch waits for them, or has waited until now


NONE_RETURNING = Returning(0, 0.0, inf)


class Returns:
    """The clients that the last batch answered, and the return times of the clients before them."""

    def __init__(self) -> None:
        self._missing: dict[Hashable, int] = {}  # rows by source
        self._since = 0.0
        self._rows = 1  # of the sources that the last batch answered
        # Seconds for each row until all clients of a batch had returned; inf: they did not.
        self._seconds: deque[float] = deque(maxlen=MAX_RETURNS)
        self._held = False

    def answered(self, completed_sources: Iterable[tuple[Hashable, int]], now: float) -> None:
        """
        Record that a batch has answered *completed_sources* at *now*.

        Each is a pair of a source and the rows of its request.  Batches of more than `MAX_SOURCES`
        sources are not waited for.
        """
        if self._missing:
            self._seconds.append(inf)
        self._missing = dict(completed_sources)
        if len(self._missing) > MAX_SOURCES:
            self._missing = {}
        self._since, self._rows = now, sum(self._missing.values())

    def observe(self, source: Hashable, now: float) -> None:
        """Record that *source* has sent its next request at *now*."""
        if self._missing.pop(source, None) is not None and not self._missing:
            self._seconds.append(max(0.0, now - self._since) / self._rows)

    def expect(self) -> Returning:
        """
        Return the rows of the missing clients and their expected return times.

        Answers are sent one after the other, so that the time until all clients have returned is
        proportional to their rows.

        Return `NONE_RETURNING` while too few returns are known, or if clients often do not return.
        """
        seen = [it for it in self._seconds if it < inf]
        if len(seen) < max(MIN_RETURNS, MIN_RETURNED_SHARE * len(self._seconds)):
            return NONE_RETURNING
        return Returning(sum(self._missing.values()), self._since, fmean(seen), self._held)

    def hold(self) -> None:
        """Record that the launch of a batch is delayed for the missing sources."""
        self._held = True

    def launched(self) -> None:
        """Record the launch of a batch, which ends a hold."""
        self._held = False
