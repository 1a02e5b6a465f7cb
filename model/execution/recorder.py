"""
The totals and the recent runs of a batcher, and the report made of them.

Without payload; written and read on the reactor thread.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field, fields, replace
from typing import Any
from weakref import WeakKeyDictionary, ref

from batcher.errors import RefusalCause
from batcher.observer import CancelStage, ExpiryStage
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.share import Share
from batcher.stats import BatcherStats
from batcher.trace import Reason, Run

MAX_RECENT_RUNS = 64  #: runs in a report
MAX_REPORTED_QUEUES = 16  #: queues in a report: those with the most recent launches


@dataclass(slots=True)
class Totals:
    """
    Counts since the start, of one share or of all.

    Each row that ends adds 1 to one of `answered`, `failed`, `expired`, `cancelled`, `refused`; the
    last three are the sums of the counts by stage or cause.  All counts by something omit zeros.  A
    request that ends before it is submitted counts as one row.
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
    runs_by_reason: dict[Reason, int] = field(default_factory=dict)
    runs_by_rows: dict[int, int] = field(default_factory=dict)
    run_seconds: float = 0.0  #: of the runs that have ended, failed or not
    dispatch_seconds: float = 0.0  #: the part of it that is dispatch overhead

    def add(self, other: "Totals") -> None:
        """Add each count of *other*."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTS_BY:
            counts = getattr(self, name)
            for key, count in getattr(other, name).items():
                counts[key] = counts.get(key, 0) + count


_COUNTS_BY = tuple(it.name for it in fields(Totals) if it.default_factory is dict)
_COUNTS = tuple(it.name for it in fields(Totals) if it.name not in _COUNTS_BY)


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
    The observer that keeps the totals of each share and the recent runs, for reports.

    Leaves out the queues of background shares.  It has the last `MAX_RECENT_RUNS` runs, and the
    `MAX_REPORTED_QUEUES` queues that launched last.
    """

    __slots__ = ("_by_share", "_executions", "_last", "_queues", "_rest", "_runs")

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=MAX_RECENT_RUNS)
        # The queue with the last launch is the last.
        self._queues: OrderedDict[Queue[Any, Any], None] = OrderedDict()
        self._executions: WeakKeyDictionary[Share, dict[int, Executions]] = WeakKeyDictionary()
        self._by_share: dict[ref[Share], Totals] = {}
        self._rest = Totals()  #: of the shares that were unloaded, and of queues without a share
        #: The queue of the last event and the totals of its share: most events come in groups.
        self._last: tuple[Queue[Any, Any] | None, Totals] = (None, self._rest)

    @property
    def totals(self) -> Totals:
        """The totals of all shares, the unloaded ones too; a copy, which does not change."""
        totals = Totals()
        for each in (self._rest, *self._by_share.values()):
            totals.add(each)
        return totals

    def of(self, share: Share) -> Totals:
        """Return the totals of *share*; the caller changes nothing."""
        return self._by_share.get(ref(share)) or Totals()

    def executions(self, share: Share) -> dict[int, Executions]:
        """Return the runs of *share* since its start, by their rows; the caller changes nothing."""
        return self._executions.get(share, {})

    def _totals(self, queue: Queue[Any, Any]) -> Totals:
        """Return the totals in which events of *queue* count."""
        last, totals = self._last
        if last is not queue:
            totals = self._find_totals(queue)
            self._last = queue, totals
        return totals

    def _find_totals(self, queue: Queue[Any, Any]) -> Totals:
        if queue.in_background:
            return Totals()  # not reported
        if queue.share is None:
            return self._rest
        totals = self._by_share.get(ref(queue.share))
        if totals is None:
            self._collect_unloaded()
            totals = self._by_share[ref(queue.share)] = Totals()
        return totals

    def _collect_unloaded(self) -> None:
        """Move the totals of the shares that were unloaded to `_rest`."""
        for share in [share for share in self._by_share if share() is None]:
            self._rest.add(self._by_share.pop(share))

    def launched(self, queue: Queue[Any, Any], run: Run) -> None:
        """Count *run*, and keep it and *queue* for reports."""
        if queue.in_background:
            return
        totals = self._totals(queue)
        totals.runs += 1
        totals.run_rows += run.rows
        totals.runs_by_reason[run.reason] = totals.runs_by_reason.get(run.reason, 0) + 1
        totals.runs_by_rows[run.rows] = totals.runs_by_rows.get(run.rows, 0) + 1
        self._runs.append(run)
        self._queues[queue] = None
        self._queues.move_to_end(queue)
        if len(self._queues) > MAX_REPORTED_QUEUES:
            self._queues.popitem(last=False)

    def ended(self, queue: Queue[Any, Any], run: Run, error: BaseException | None) -> None:
        """Add the time of *run*; count it by the share of *queue*, unless it has failed."""
        totals, seconds = self._totals(queue), run.seconds or 0.0
        totals.run_seconds += seconds
        totals.dispatch_seconds += run.dispatch_overhead
        share = queue.share
        if error is not None or share is None or queue.in_background:
            return
        by_rows = self._executions.setdefault(share, {})
        size = by_rows.get(run.rows) or by_rows.setdefault(run.rows, Executions())
        size.count += 1
        size.seconds += seconds - run.dispatch_overhead
        size.overhead += run.dispatch_overhead

    def answered(self, queue: Queue[Any, Any], rows: int) -> None:
        """Count *rows*."""
        self._totals(queue).answered += rows

    def failed(self, queue: Queue[Any, Any], rows: int, error: BaseException) -> None:
        """Count *rows*."""
        self._totals(queue).failed += rows

    def refused(self, queue: Queue[Any, Any], rows: int, cause: RefusalCause) -> None:
        """Count *rows* by *cause*."""
        totals = self._totals(queue)
        totals.refused += rows
        totals.refused_by_cause[cause] = totals.refused_by_cause.get(cause, 0) + rows

    def expired(self, queue: Queue[Any, Any], rows: int, stage: ExpiryStage) -> None:
        """Count *rows* by *stage*."""
        totals = self._totals(queue)
        totals.expired += rows
        totals.expired_by_stage[stage] = totals.expired_by_stage.get(stage, 0) + rows

    def cancelled(self, queue: Queue[Any, Any], rows: int, stage: CancelStage) -> None:
        """Count *rows* by *stage*."""
        totals = self._totals(queue)
        totals.cancelled += rows
        totals.cancelled_by_stage[stage] = totals.cancelled_by_stage.get(stage, 0) + rows

    def report(self, stats: BatcherStats) -> BatcherReport:
        """Return a report of what was recorded, with *stats*, the state of the batcher now."""
        queues = tuple(queue_report(queue, stats.now) for queue in reversed(self._queues))
        runs = tuple(replace(run) for run in reversed(self._runs))
        return BatcherReport(stats, self.totals, queues, runs)


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
