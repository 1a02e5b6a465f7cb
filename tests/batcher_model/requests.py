"""
What a test knows of each request: what it asked for, where its rows are, what it has earned.

A model of the batcher's contract that shares no code with it.
"""

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
class Hangup:
    """The owner of one of the open requests no longer wants it."""

    which: int


@dataclass(frozen=True)
class Submission:
    """A request comes."""

    rows: int
    key: str  #: of its profile
    priority: Priority = Priority.NORMAL
    timeout: float = inf
    poison: bool = False  #: no run that it rides in succeeds
    source: int | None = None
    then: "Submission | Hangup | None" = None  #: what its owner does when it has ended


@dataclass(eq=False)
class Flown:
    """A run that was launched, and whether it is known to hang."""

    run: ManualRun[int]
    hangs_at: float
    overdue: bool = False  #: the clock has been there
    given_up: bool = False  #: and the timer has rung


@dataclass(eq=False)
class Rider:
    """One request; each of its rows waits, is to be run again, runs, or has been served."""

    number: int
    asked: Submission
    came: float
    trace: Trace = field(default_factory=Trace)
    answer: Deferred[Rows[int]] | None = None
    outcomes: list[object] = field(default_factory=list)  #: results or errors; must become one
    launched: int = 0  #: rows that have left the queue, which they do in order
    running: set[int] = field(default_factory=set)
    served: set[int] = field(default_factory=set)  #: rows that were run with success
    rides: int = 0
    due: object = None  #: what it must end with, once that is settled
    reasons: list[type[BatcherError]] = field(default_factory=list)  #: why it may be turned away
    turned_away: bool = False
    was_missing: bool = False  #: its source had not come back when it came
    hopeless: bool = False  #: there was a moment at which a run would have come too late

    @property
    def deadline(self) -> float:
        """When its time is over."""
        return self.came + self.asked.timeout

    @property
    def waiting(self) -> int:
        """Rows in the queue, while it is open."""
        return self.asked.rows - self.launched

    @property
    def again(self) -> int:
        """Rows that are to be run again, while it is open."""
        return self.launched - len(self.running) - len(self.served)

    @property
    def settled(self) -> bool:
        """Whether it has ended, or is about to hear how."""
        return bool(self.outcomes) or self.due is not None

    def boards(self, start: int, stop: int, now: float) -> None:
        """Note that these rows are run from *now* on; raises AssertionError if they must not be."""
        rows = set(range(start, stop))
        assert rows, "a piece without rows"
        assert max(rows) < self.asked.rows, "rows that nobody has"
        assert not self.settled, "run after its end"
        assert self.deadline > now, "run after its deadline"
        assert not rows & (self.running | self.served), "run twice"
        if stop > self.launched:
            assert start == self.launched, "rows out of order"
            self.launched = stop
        self.running |= rows
        self.rides += 1

    def fails(self, start: int, stop: int, error: BatcherError | None = None) -> None:
        """Note that a run of these rows has failed; without an *error* they are run again."""
        self.running -= set(range(start, stop))
        if not self.settled:
            self.due = error

    def succeeds(self, start: int, stop: int, now: float) -> None:
        """Note that a run of these rows has ended well."""
        rows = set(range(start, stop))
        self.running -= rows
        if self.settled:
            return
        self.served |= rows
        if self.deadline < now:
            self.due = DeadlineExceeded(now - self.deadline, "answer")
        elif len(self.served) == self.asked.rows:
            self.due = [(self.number, row) for row in range(self.asked.rows)]

    @property
    def total(self) -> str:
        """The name of the total in which its rows are counted, once it has ended."""
        match self.outcomes[0]:
            case list():
                return "answered"
            case DeadlineExceeded():
                return "expired"
            case _ if self.turned_away:
                return "refused"
            case CancelledError():
                return "cancelled"
            case _:
                return "failed"


def same(outcome: object, due: object) -> bool:
    """Return whether a request has ended as it was *due*."""
    return type(outcome) is type(due) and _details(outcome) == _details(due)


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


def rides(rider: Rider, flown: Flown) -> bool:
    """Return whether *rider* has rows in a run."""
    return any(piece.item == rider.number for piece in flown.run.given)


def due_of(run: ManualRun[int], error: Exception | None, results: int) -> BatcherError | None:
    """Return what all riders of *run* must end with, unless they are answered or run again."""
    if isinstance(error, ShuttingDown):
        return error
    if isinstance(error, OutOfMemory):
        return RunFailed(error) if run.rows == 1 else None
    if error is not None:
        return RunFailed(error) if len(run.given) == 1 else None
    expected = len(run.given)
    return None if results == expected else ResultCountMismatch(expected, results)
