"""
The disturbances of a simulated machine: how other work on it lengthens the runs of a workload.

Pure: a disturbance depends on a run and on its own fields alone, so that all policies that are
compared meet the same machine.  Times and durations are seconds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

#: The arrivals of this many seconds before a run determine the share of the cores that clients use.
CLIENT_WINDOW_SECONDS = 0.5

#: The largest share of the cores that clients use: the scheduler leaves the rest to the server.
MAX_CLIENT_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Run:
    """A run at its start, as far as a disturbance may depend on it."""

    start: float  #: the time at which it is launched
    rows: int
    is_first: bool  #: no run of the workload was launched before
    is_first_of_size: bool  #: no run of as many rows was launched before


class Disturbance(Protocol):
    """Lengthens runs."""

    def disturbed(self, run: Run, seconds: float) -> float:
        """Return the seconds of *run*, which takes *seconds* without this disturbance."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another program that computes from *start* to *stop*; a run has one factor to its end."""

    factors: Sequence[float]  #: by the rows of a run that starts meanwhile; index 0 is not used
    start: float = -inf
    stop: float = inf

    def disturbed(self, run: Run, seconds: float) -> float:
        """Return *seconds* times the factor of the rows, if the other program computes."""
        return seconds * self.factors[run.rows] if self.start <= run.start < self.stop else seconds


@dataclass(frozen=True, slots=True)
class Client:
    """Clients, and the decoding of their requests, on the cores of the lane."""

    due: Sequence[float]  #: the arrival times of all requests, ascending
    seconds: float  #: of CPU for each request and its answer

    def disturbed(self, run: Run, seconds: float) -> float:
        """Return *seconds* divided by the share of the cores that the clients leave."""
        before = bisect_left(self.due, run.start - CLIENT_WINDOW_SECONDS)
        recent = bisect_right(self.due, run.start) - before
        used = self.seconds * recent / CLIENT_WINDOW_SECONDS
        return seconds / (1.0 - min(used, MAX_CLIENT_SHARE))


@dataclass(frozen=True, slots=True)
class Stalls:
    """Times at which the scheduler takes the core away for some milliseconds."""

    times: Sequence[float]  #: ascending
    seconds: Sequence[float]  #: of each stall

    def disturbed(self, run: Run, seconds: float) -> float:
        """Return *seconds* plus the durations of all stalls before the end of the run."""
        at = bisect_left(self.times, run.start)
        while at < len(self.times) and self.times[at] < run.start + seconds:
            seconds += self.seconds[at]
            at += 1
        return seconds


@dataclass(frozen=True, slots=True)
class SlowFirstRun:
    """A library that compiles at the first run, or at the first run of each number of rows."""

    factor: float
    of_each_size: bool = False

    def disturbed(self, run: Run, seconds: float) -> float:
        """Return *seconds* times the factor for a first run."""
        is_first = run.is_first_of_size if self.of_each_size else run.is_first
        return seconds * self.factor if is_first else seconds
