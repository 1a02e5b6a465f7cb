"""Fakes of the executor and the policy of a batcher, which keep their contracts."""

import gc
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Generic

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from batcher.batcher import Batcher
from batcher.executor import Executor, Item, Piece
from batcher.learning.latency import LatencyCurve
from batcher.observer import Observer
from batcher.policy import IDLE, Decision, LaneView, Launch, Policy, QueueView
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.trace import Trace
from model.execution.recorder import BatcherReport, Recorder

#: The result of a piece in `ManualExecutor`: its item, with the number of each row.
Rows = list[tuple[Item, int]]


def rows_of(piece: Piece[Item]) -> Rows[Item]:
    """Return the result of *piece*: its item, with the number of each row."""
    return [(piece.item, row) for row in range(piece.start, piece.stop)]


def join_rows(parts: Sequence[Rows[Item]]) -> Rows[Item]:
    """Join the results that `rows_of` returned for the parts of one item."""
    return [row for part in parts for row in part]


class GreedyPolicy:
    """A simple policy: an idle lane takes its share of the waiting rows."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch ``ceil(rows / idle)`` rows, at most the cap."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        rows = min(lanes.cap, -(-queue.rows // lanes.idle))
        if rows == lanes.cap:
            return Launch(rows, "full")
        return Launch(rows, "drain" if queue.draining else "idle")


@dataclass(eq=False)
class ManualRun(Generic[Item]):
    """A run that lasts until the test ends it."""

    given: Sequence[Piece[Item]]
    answer: Deferred[Sequence[Rows[Item]]] = field(default_factory=Deferred)
    ended: bool = False

    @property
    def pieces(self) -> list[tuple[Item, int, int]]:
        """Item, first row and end of each piece."""
        return [(piece.item, piece.start, piece.stop) for piece in self.given]

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return sum(piece.rows for piece in self.given)

    def finish(self, results: Sequence[Rows[Item]] | None = None) -> None:
        """Fire with *results*, or with the results of `rows_of`."""
        self.ended = True
        self.answer.callback(
            [rows_of(piece) for piece in self.given] if results is None else results
        )

    def fail(self, error: Exception) -> None:
        """Fail the whole run."""
        self.ended = True
        self.answer.errback(error)


class ManualExecutor(Generic[Item]):
    """An executor whose runs the test ends; keeps all its runs."""

    seconds: float | None = None

    def __init__(self) -> None:
        self.runs: list[ManualRun[Item]] = []

    def run(self, pieces: Sequence[Piece[Item]]) -> Deferred[Sequence[Rows[Item]]]:
        """Begin a run; raises AssertionError if the one before has not ended."""
        assert not self.runs or self.runs[-1].ended, "one run at a time"
        self.runs.append(ManualRun(pieces))
        return self.runs[-1].answer

    @property
    def current(self) -> ManualRun[Item]:
        """The run under way; raises AssertionError if there is none."""
        assert self.runs, "never asked to run"
        assert not self.runs[-1].ended, "idle"
        return self.runs[-1]


class ManualBatcher:
    """A batcher on a Clock with manual lanes, and the outcomes of its requests in order."""

    def __init__(
        self,
        *,
        lanes: int = 1,
        policy: Policy | None = None,
        cap: int = 8,
        limit: int = 64,
        executors: Sequence[Executor[str, Rows[str]]] = (),
        join: Callable[[Sequence[Rows[str]]], Rows[str]] = join_rows,
        run_timeout: float = 1000.0,
        observer: Observer | None = None,
    ) -> None:
        self.clock = Clock()
        self.lanes: list[ManualExecutor[str]] = [ManualExecutor() for _ in range(lanes)]
        self.recorder = Recorder()
        self.latency = LatencyCurve({})
        #: By the key of a request; all queues share one l(b).
        self.queues: defaultdict[str, Queue[str, Rows[str]]] = defaultdict(
            lambda: Queue(self.latency, cap, limit)
        )
        self.batcher: Batcher[str, Rows[str]] = Batcher(
            self.clock,
            executors or self.lanes,
            policy or GreedyPolicy(),
            join=join,
            observer=observer or self.recorder,
            run_timeout=run_timeout,
        )
        self.ended: list[str] = []  # names, in the order of their outcomes
        self.results: dict[str, Rows[str]] = {}
        self.errors: dict[str, BaseException] = {}

    def submit(
        self,
        name: str,
        rows: int = 1,
        *,
        key: str = "",
        deadline: float = inf,
        priority: Priority = Priority.NORMAL,
        source: Hashable | None = None,
        trace: Trace | None = None,
    ) -> Deferred[Rows[str]]:
        """Submit an item called *name* and record its outcome."""
        answer = self.batcher.submit(
            name,
            rows,
            self.queues[key],
            deadline=deadline,
            priority=priority,
            source=source,
            trace=trace,
        )
        answer.addCallbacks(self._answered, self._failed, callbackArgs=(name,), errbackArgs=(name,))
        return answer

    def admit(
        self,
        queue: Queue[str, Rows[str]],
        *,
        deadline: float,
        priority: Priority = Priority.NORMAL,
        ahead: int = 0,
    ) -> None:
        """Ask now for the admission of a row in *queue*."""
        now = self.clock.seconds()
        self.batcher.admission.admit(now, queue, deadline, priority, ahead)

    def _answered(self, result: Rows[str], name: str) -> None:
        self.ended.append(name)
        self.results[name] = result

    def _failed(self, failure: Failure, name: str) -> None:
        self.ended.append(name)
        assert failure.value is not None
        self.errors[name] = failure.value

    @property
    def report(self) -> BatcherReport:
        """The report of the recorder; it has recorded nothing if another observer was given."""
        return self.recorder.report(self.batcher.stats())

    def drained(self) -> list[None]:
        """Drain, and return a list that gets an entry when the drain fires."""
        done: list[None] = []
        self.batcher.drain().addCallback(done.append)
        return done

    @property
    def cap(self) -> int:
        """The largest batch, in rows, of the queue of requests without a key."""
        return self.queues[""].cap

    @property
    def lane(self) -> ManualExecutor[str]:
        """The only lane."""
        (lane,) = self.lanes
        return lane

    @property
    def batches(self) -> list[list[str]]:
        """The names in each run of the only lane."""
        return [[piece.item for piece in run.given] for run in self.lane.runs]


def all_rows(name: str, rows: int = 1) -> Rows[str]:
    """Return the result of all *rows* of the item called *name*."""
    return [(name, row) for row in range(rows)]


@implementer(ILogObserver)
class _LoggedFailures:
    """Keeps every failure that is logged."""

    def __init__(self) -> None:
        self.failures: list[object] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event["log_failure"])


@contextmanager
def no_unhandled_errors() -> Iterator[None]:
    """Fail if Twisted logs a failure within the block: one without an errback."""
    observer = _LoggedFailures()
    globalLogPublisher.addObserver(observer)
    gc.freeze()  # only objects made in the block are collected: that is faster
    try:
        yield
        gc.collect()  # a Deferred logs its error when it is collected
    finally:
        gc.unfreeze()
        globalLogPublisher.removeObserver(observer)
    assert observer.failures == []
