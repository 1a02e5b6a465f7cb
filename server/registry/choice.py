"""
Choose a worker: the better of two that are drawn at random.

Each worker reports how long a request would wait for it, and by how much each further request adds
to that.  Between two reports, the choices made here are added, and reduced by one second each
second.  So workers with equal reports get equal shares, and no worker gets all requests
until its next report.  The better of two, and not the best of all: with several registries, or with
clients that keep a worker, the best of all would get a burst.

Pure.  Times are seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

#: The least by which a choice makes the wait of a worker longer, in seconds: workers that report
#: no difference take turns.
MIN_ADDED_WAIT = 0.001


#: Waits that differ by no more than this part of the longer one, or by `MIN_ADDED_WAIT`, count as
#: equal: measured times scatter as much; otherwise one of two equal workers would get all requests
#: of a light load.
NEAR = 0.1


@dataclass(slots=True)
class Backlog:
    """The wait that the choices of one worker have added since its last report."""

    seconds: float = 0.0
    at: float = 0.0  #: the time for which `seconds` holds

    def after(self, now: float) -> float:
        """Return what remains of it at *now*."""
        return max(0.0, self.seconds - max(0.0, now - self.at))

    def add(self, added_wait: float, now: float) -> None:
        """Add a choice at *now*, which makes the wait longer by *added_wait*."""
        self.seconds = self.after(now) + max(added_wait, MIN_ADDED_WAIT)
        self.at = now


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides between two workers."""

    wait: float | None  #: seconds until a request would be answered; None if it is not known
    turn: int  #: the number of its last choice; 0 if it was never chosen


def is_better(one: Standing, other: Standing) -> bool:
    """
    Return whether *one* is better than *other*.

    The shorter wait is better.  If the waits are nearly equal, or one is not known, the worker
    whose last choice was earlier is better.
    """
    if one.wait is None or other.wait is None:
        return one.turn < other.turn
    near = max(NEAR * max(one.wait, other.wait), MIN_ADDED_WAIT)
    if abs(one.wait - other.wait) <= near:
        return one.turn < other.turn
    return one.wait < other.wait


def two_of(count: int, random: Callable[[], float]) -> tuple[int, int]:
    """
    Return two different indices below *count*, which is at least 2, each pair as likely.

    *random* returns a number from 0 to 1, without 1.
    """
    one, other = int(random() * count), int(random() * (count - 1))
    return one, other + (other >= one)
