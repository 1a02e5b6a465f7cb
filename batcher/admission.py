"""
Will a request make its deadline?  Asked before it costs anything.

Pure.  Times are seconds, sizes rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batcher.policy import LatencyModel, fitting
from batcher.priority import SHARES, Priority


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands between a row that comes now and its run."""

    rows: int  #: that leave before it
    free_in: float  #: until the first lane is idle
    lanes: int
    cap: int  #: the most rows a batch may have


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
