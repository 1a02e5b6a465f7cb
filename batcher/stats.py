"""
Reports of a batcher: counters, its queues and its last runs.

Plain data without payload, read on the reactor thread.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from batcher.priority import Priority
from batcher.queue import Queue
from batcher.trace import Run

MAX_RECENT_RUNS = 64  #: runs in a report
MAX_REPORTED_QUEUES = 16  #: queues in a report: those with the most recent launches


class State(Enum):
    """The states of a batcher, in order; it only moves to a later state."""

    RUNNING = "running"
    DRAINING = "draining"  #: refuses new requests, answers those that were accepted
    STOPPED = "stopped"  #: every request has its answer


@dataclass(slots=True)
class Totals:
    """
    Counts since the start.

    Each row that ends adds 1 to one of `answered`, `failed`, `expired`, `cancelled`, `refused`.  A
    request that is refused before it is submitted counts as one row.
    """

    runs: int = 0  #: batches launched, retries included
    run_rows: int = 0  #: rows in these batches
    answered: int = 0
    failed: int = 0  #: ended with an error that is not counted below
    expired: int = 0  #: too late, at any stage
    cancelled: int = 0
    refused: int = 0  #: late by the estimate, a full queue, hung lanes or shutting down


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """The state of a batcher, and its counts of rows and lanes, at one time."""

    state: State
    waiting: int  #: rows in the queues
    retrying: int  #: rows in batches that are to be run again
    lanes: int
    running: int  #: lanes that run a batch
    hung: int  #: lanes, included in `running`, whose run has been given up
    totals: Totals  #: a copy, which does not change


@dataclass(frozen=True, slots=True)
class QueueReport:
    """The state of one queue; times are seconds."""

    name: str
    rows: dict[str, int]  #: waiting rows, by the name of the priority in lower case
    waited: float  #: waiting time of the oldest request; 0.0 if none waits
    arrivals: float  #: rows per second
    latency: dict[int, float]  #: the expected time of a run of each measured size, by rows
    knee: int  #: the smallest size, in rows, with nearly the best rate
    best: float  #: the highest certain rate of one lane, in rows per second
    cap: int  #: the largest batch, in rows
    margin: float  #: the factor by which the time allowed must exceed the expected time


@dataclass(frozen=True, slots=True)
class BatcherReport:
    """The state of a batcher and its last runs; together they explain its decisions."""

    stats: BatcherStats
    policy: str  #: a description of the policy
    queues: tuple[QueueReport, ...]  #: the queue with the last launch first
    runs: tuple[Run, ...]  #: copies, which do not change; the last launch first
    now: float  #: the time of the report, in seconds of the clock of `Run.started`


class RecentRuns:
    """The last `MAX_RECENT_RUNS` runs, and the `MAX_REPORTED_QUEUES` queues that launched last."""

    __slots__ = ("_queues", "_runs")

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=MAX_RECENT_RUNS)
        # The queue with the last launch is the last.
        self._queues: OrderedDict[Queue[Any, Any], None] = OrderedDict()

    def record(self, queue: Queue[Any, Any], run: Run) -> None:
        """Record that *run* was launched from *queue*."""
        self._runs.append(run)
        self._queues[queue] = None
        self._queues.move_to_end(queue)
        if len(self._queues) > MAX_REPORTED_QUEUES:
            self._queues.popitem(last=False)

    def queues(self, now: float) -> tuple[QueueReport, ...]:
        """Return a report at *now* of each recorded queue, the queue with the last launch first."""
        return tuple(queue_report(queue, now) for queue in reversed(self._queues))

    def runs(self) -> tuple[Run, ...]:
        """Return copies of the runs, the last launch first."""
        return tuple(replace(run) for run in reversed(self._runs))


def queue_report(queue: Queue[Any, Any], now: float) -> QueueReport:
    """Let *queue* learn from its last run, then return its report at *now*."""
    queue.learn()
    latency = queue.latency
    return QueueReport(
        name=queue.name,
        rows={level.name.lower(): queue.by_level[level] for level in Priority},
        waited=max(0.0, now - queue.oldest) if queue.rows else 0.0,
        arrivals=queue.expected(now).rate,
        latency=latency.fitted,
        knee=latency.knee(queue.cap),
        best=max(latency.sizes(queue.cap).rates, default=0.0),
        cap=queue.cap,
        margin=queue.margin,
    )
