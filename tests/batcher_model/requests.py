"""
What a test knows about each request: its rows, where they are, and how it must end.

A model of the contract of the batcher that shares no code with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from twisted.internet.defer import CancelledError, Deferred

from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    QueueFull,
    ResultCountMismatch,
    RunFailed,
    RunHung,
    ShuttingDown,
)
from batcher.priority import Priority
from batcher.trace import Trace
from tests.fakes.executor import ManualRun, Rows


@dataclass(frozen=True)
class Cancellation:
    """Cancel one of the open requests."""

    which: int


@dataclass(frozen=True)
class Submission:
    """The arguments of a submit."""

    rows: int
    key: str  #: of its queue
    priority: Priority = Priority.NORMAL
    timeout: float = inf
    poison: bool = False  #: every run with its rows fails
    source: int | None = None
    then: "Submission | Cancellation | None" = None  #: what its owner does at its end


@dataclass(eq=False)
class ModelRun:
    """A launched run."""

    run: ManualRun[int]
    hangs_at: float
    overdue: bool = False  #: the clock has shown that time
    given_up: bool = False  #: and the timer has fired


@dataclass(eq=False)
class ModelRequest:
    """A request; each row waits, is to be retried, runs, or has been served."""

    number: int
    asked: Submission
    arrived: float
    trace: Trace = field(default_factory=Trace)
    answer: Deferred[Rows[int]] | None = None
    outcomes: list[object] = field(default_factory=list)  #: results or errors; must become one
    launched: int = 0  #: rows that were launched, in order
    running: set[int] = field(default_factory=set)
    served: set[int] = field(default_factory=set)  #: rows of successful runs
    runs: int = 0
    expected_end: object = None  #: how it must end, once that is certain
    reasons: list[type[BatcherError]] = field(default_factory=list)  #: why it may be refused
    refused: bool = False
    was_awaited: bool = False  #: its source was missing when it arrived
    hopeless: bool = False  #: at some time, its run would have ended too late

    @property
    def deadline(self) -> float:
        """The time of its deadline."""
        return self.arrived + self.asked.timeout

    @property
    def waiting(self) -> int:
        """Rows in the queue, while it is open."""
        return self.asked.rows - self.launched

    @property
    def retrying(self) -> int:
        """Rows that are to be run again, while it is open."""
        return self.launched - len(self.running) - len(self.served)

    @property
    def settled(self) -> bool:
        """Whether it has ended, or its end is certain."""
        return bool(self.outcomes) or self.expected_end is not None

    def launch(self, start: int, stop: int, now: float) -> None:
        """Record that these rows run from *now* on; raises AssertionError if they must not."""
        rows = set(range(start, stop))
        assert rows, "a piece without rows"
        assert max(rows) < self.asked.rows, "rows beyond the request"
        assert not self.settled, "run after its end"
        assert self.deadline > now, "run after its deadline"
        assert not rows & (self.running | self.served), "run twice"
        if stop > self.launched:
            assert start == self.launched, "rows out of order"
            self.launched = stop
        self.running |= rows
        self.runs += 1

    def fails(self, start: int, stop: int, error: BatcherError | None = None) -> None:
        """Record that a run of these rows has failed; without an *error* they are run again."""
        self.running -= set(range(start, stop))
        if not self.settled:
            self.expected_end = error

    def succeeds(self, start: int, stop: int, now: float) -> None:
        """Record that a run of these rows has succeeded."""
        rows = set(range(start, stop))
        self.running -= rows
        if self.settled:
            return
        self.served |= rows
        if self.deadline < now:
            self.expected_end = DeadlineExceeded(now - self.deadline, "answer")
        elif len(self.served) == self.asked.rows:
            self.expected_end = [(self.number, row) for row in range(self.asked.rows)]

    @property
    def total(self) -> str:
        """The name of the total that counts its rows, once it has ended."""
        match self.outcomes[0]:
            case list():
                return "answered"
            case DeadlineExceeded():
                return "expired"
            case _ if self.refused:
                return "refused"
            case CancelledError():
                return "cancelled"
            case _:
                return "failed"


def same(outcome: object, expected_end: object) -> bool:
    """Return whether *outcome* is the *expected_end*."""
    return type(outcome) is type(expected_end) and _details(outcome) == _details(expected_end)


def _details(outcome: object) -> object:
    match outcome:
        case list():
            return outcome
        case RunFailed():
            return id(outcome.cause)
        case DeadlineExceeded() | ResultCountMismatch() | RunHung() | QueueFull():
            return outcome.args
        case _:
            return None


def oldest_of(requests: Sequence[ModelRequest]) -> float:
    """Return the earliest arrival among the waiting heads of all priorities."""
    heads: dict[int, float] = {}
    for request in requests:
        if request.waiting:
            heads.setdefault(request.asked.priority, request.arrived)
    return min(heads.values())


def is_part_of(request: ModelRequest, it: ModelRun) -> bool:
    """Return whether *request* has rows in a run."""
    return any(piece.item == request.number for piece in it.run.given)


def expected_end_of(
    run: ManualRun[int], error: Exception | None, results: int
) -> BatcherError | None:
    """Return the error that ends all requests of *run*; None: answered or run again."""
    if isinstance(error, ShuttingDown):
        return error
    if isinstance(error, OutOfMemory):
        return RunFailed(error) if run.rows == 1 else None
    if error is not None:
        return RunFailed(error) if len(run.given) == 1 else None
    expected = len(run.given)
    return None if results == expected else ResultCountMismatch(expected, results)


def is_refusal(end: object) -> bool:
    """Return whether *end* is the refusal of a request that is being submitted."""
    if isinstance(end, DeadlineExceeded):
        return end.stage == "submit"
    return isinstance(end, (QueueFull, RunHung, ShuttingDown))
