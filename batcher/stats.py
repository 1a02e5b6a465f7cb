"""
What a batcher tells about itself.

Plain data, read on the reactor thread.
"""

from dataclasses import dataclass
from enum import Enum

from batcher.trace import Reason


class State(Enum):
    """A batcher's life; it never goes back."""

    RUNNING = "running"
    DRAINING = "draining"  #: takes nobody in, answers those it has
    STOPPED = "stopped"  #: owes no answer to anybody


@dataclass(slots=True)
class Totals:
    """Rows since the beginning; each submitted row is in one of the last five, or not yet."""

    runs: int = 0  #: batches launched, retries included
    run_rows: int = 0  #: rows in them
    answered: int = 0
    failed: int = 0  #: ended with an error that is not below
    expired: int = 0  #: too late, at whatever stage
    cancelled: int = 0
    refused: int = 0  #: turned away: no time, no room, or shutting down


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """One moment's numbers."""

    state: State
    waiting: int  #: rows in the queues
    retrying: int  #: rows that are to be run again
    lanes: int
    running: int  #: lanes that run a batch
    hung: int  #: of those, lanes whose run has been given up
    totals: Totals  #: a copy: it does not grow


@dataclass(frozen=True, slots=True)
class Flush:
    """One batch that left, as it is told afterwards."""

    ago: float  #: seconds since its launch
    rows: int
    cap: int  #: the most rows that it could have had
    left: int  #: rows that stayed in its queue
    reason: Reason
    expected: float  #: seconds its run was expected to take; 0.0 where nobody knew
    seconds: float | None  #: how long it ran; None while it does


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What is known and waits of one kind of run; times are seconds."""

    name: str
    rows: dict[str, int]  #: waiting, by priority
    waited: float  #: by the oldest row; 0.0 where none waits
    arrivals: float  #: rows a second
    latency: dict[int, float]  #: l(b) as it is believed, by rows
    knee: int  #: the rows from which on size buys next to nothing
    best: float  #: rows a second that one lane runs at most
    cap: int
    margin: float  #: by which the time that a request has must exceed what is expected of it


@dataclass(frozen=True, slots=True)
class BatcherReport:
    """Why the batcher does what it does."""

    stats: BatcherStats
    policy: str  #: in words
    queues: tuple[QueueReport, ...]  #: those used last first
    flushes: tuple[Flush, ...]  #: the latest first
