"""
The totals and the recent runs of a batcher, and the report made of them.

Without payload; written and read on the reactor thread.
"""

from collections import OrderedDict, deque
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from batcher.errors import RefusalCause
from batcher.observer import CancelStage, ExpiryStage
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.share import Share
from batcher.stats import BatcherStats
from batcher.trace import Run

MAX_RECENT_RUNS = 64  #: runs in a report
MAX_REPORTED_QUEUES = 16  #: queues in a report: those with the most recent launches


@dataclass(slots=True)
class Totals:
    """
    Counts since the start.

    Each row that ends adds 1 to one of `answered`, `failed`, `expired`, `cancelled`, `refused`; the
    last three are the sums of the counts by stage or cause, which omit zeros.  A request that ends
    before it is submitted counts as one row.
    """

    runs: int = 0  #: batches launched, retries included
    run_rows: int = 0  #: rows in these batches
    answered: int = 0
    failed: int = 0  #: ended with an error that is not counted below
    expired: int = 0  #: too late, at any stage
    cancelled: int = 0
    refused: int = 0  #: late by the estimate, a full queue, hung lanes or shutting down
    expired_by_stage: dict[ExpiryStage, int] = field(default_factory=dict)
    cancelled_by_stage: dict[CancelStage, int] = field(default_factory=dict)
    refused_by_cause: dict[RefusalCause, int] = field(default_factory=dict)


@dataclass(slots=True)
class Executions:
    """The runs of one size that have ended with results; times are seconds."""

    count: int = 0
    seconds: float = 0.0  #: the runs alone
    overhead: float = 0.0  #: their dispatch overhead, which includes to gather the rows


@dataclass(frozen=True, slots=True)
class QueueReport:
    """The state of one queue; times are seconds."""

    name: str
    model: str  #: the name of its share
    rows: dict[str, int]  #: waiting rows, by the name of the priority in lower case
    waited: float  #: waiting time of the oldest request; 0.0 if none waits
    arrivals: float  #: rows per second
    latency: dict[int, float]  #: the expected time of a run of each measured size, by rows
    knee: int  #: the smallest size, in rows, with nearly the best rate
    best: float  #: the highest rate of one lane, as in `Sizes`, in rows per second
    cap: int  #: the largest batch, in rows
    margin: float  #: the factor by which the time allowed must exceed the expected time


@dataclass(frozen=True, slots=True)
class BatcherReport:
    """The state of a batcher and its last runs; together they explain its decisions."""

    stats: BatcherStats
    totals: Totals  #: a copy, which does not change
    queues: tuple[QueueReport, ...]  #: the queue with the last launch first
    runs: tuple[Run, ...]  #: copies, which do not change; the last launch first


class Recorder:
    """
    The observer that keeps the totals and the recent runs, for reports.

    Leaves out the queues of background shares.  It has the last `MAX_RECENT_RUNS` runs, and the
    `MAX_REPORTED_QUEUES` queues that launched last.
    """

    __slots__ = ("_executions", "_queues", "_runs", "totals")

    def __init__(self) -> None:
        self.totals = Totals()
        self._runs: deque[Run] = deque(maxlen=MAX_RECENT_RUNS)
        # The queue with the last launch is the last.
        self._queues: OrderedDict[Queue[Any, Any], None] = OrderedDict()
        self._executions: WeakKeyDictionary[Share, dict[int, Executions]] = WeakKeyDictionary()

    def executions(self, share: Share) -> dict[int, Executions]:
        """Return the runs of *share* since its start, by their rows; the caller changes nothing."""
        return self._executions.get(share, {})

    def launched(self, queue: Queue[Any, Any], run: Run) -> None:
        """Count *run*, and keep it and *queue* for reports."""
        if queue.in_background:
            return
        self.totals.runs += 1
        self.totals.run_rows += run.rows
        self._runs.append(run)
        self._queues[queue] = None
        self._queues.move_to_end(queue)
        if len(self._queues) > MAX_REPORTED_QUEUES:
            self._queues.popitem(last=False)

    def ended(self, queue: Queue[Any, Any], run: Run, error: BaseException | None) -> None:
        """Count *run* by the share of *queue*, unless it has failed."""
        share = queue.share
        if error is not None or share is None or queue.in_background:
            return
        by_rows = self._executions.setdefault(share, {})
        size = by_rows.get(run.rows) or by_rows.setdefault(run.rows, Executions())
        size.count += 1
        size.seconds += (run.seconds or 0.0) - run.dispatch_overhead
        size.overhead += run.dispatch_overhead

    def answered(self, queue: Queue[Any, Any], rows: int) -> None:
        """Count *rows*."""
        if not queue.in_background:
            self.totals.answered += rows

    def failed(self, queue: Queue[Any, Any], rows: int, error: BaseException) -> None:
        """Count *rows*."""
        if not queue.in_background:
            self.totals.failed += rows

    def refused(self, queue: Queue[Any, Any], rows: int, cause: RefusalCause) -> None:
        """Count *rows* by *cause*."""
        if not queue.in_background:
            self.totals.refused += rows
            counts = self.totals.refused_by_cause
            counts[cause] = counts.get(cause, 0) + rows

    def expired(self, queue: Queue[Any, Any], rows: int, stage: ExpiryStage) -> None:
        """Count *rows* by *stage*."""
        if not queue.in_background:
            self.totals.expired += rows
            counts = self.totals.expired_by_stage
            counts[stage] = counts.get(stage, 0) + rows

    def cancelled(self, queue: Queue[Any, Any], rows: int, stage: CancelStage) -> None:
        """Count *rows* by *stage*."""
        if not queue.in_background:
            self.totals.cancelled += rows
            counts = self.totals.cancelled_by_stage
            counts[stage] = counts.get(stage, 0) + rows

    def report(self, stats: BatcherStats) -> BatcherReport:
        """Return a report of what was recorded, with *stats*, the state of the batcher now."""
        queues = tuple(queue_report(queue, stats.now) for queue in reversed(self._queues))
        runs = tuple(replace(run) for run in reversed(self._runs))
        return BatcherReport(stats, deepcopy(self.totals), queues, runs)


def queue_report(queue: Queue[Any, Any], now: float) -> QueueReport:
    """Return the report of *queue* at *now*; changes nothing that a decision depends on."""
    latency = queue.latency
    return QueueReport(
        name=queue.name,
        model=queue.share.name if queue.share is not None else "",
        rows={level.name.lower(): queue.by_level[level] for level in Priority},
        waited=max(0.0, now - queue.oldest) if queue.rows else 0.0,
        arrivals=queue.expected(now).rate,
        latency=latency.fitted,
        knee=latency.knee(queue.cap),
        best=max(latency.sizes(queue.cap).rates, default=0.0),
        cap=queue.cap,
        margin=queue.margin,
    )
