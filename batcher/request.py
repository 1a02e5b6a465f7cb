"""
One request and its parts: how many rows are launched and done, and the result or the error.

Plain data of the reactor thread: reads no clock and fires no Deferred.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, cast

from batcher.executor import Item, Piece, Result
from batcher.priority import Priority
from batcher.trace import Trace

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from batcher.errors import BatcherError
    from batcher.queue import Queue


@dataclass(slots=True, eq=False)
class Request(Generic[Item, Result]):
    """One submitted request, from its arrival to its answer."""

    number: int  #: sequence number, in the order of arrival
    item: Item
    rows: int
    queue: "Queue[Item, Result]"
    arrived: float  #: time of the batcher's clock, in seconds
    deadline: float = inf  #: a time of the same clock
    priority: Priority = Priority.NORMAL
    source: Hashable | None = None  #: a sender of successive requests, such as a connection
    trace: Trace | None = None
    had_to_wait: bool = False  #: no lane was idle when it arrived
    taken: int = 0  #: rows that were removed from the queue for a launch
    done: int = 0  #: rows that have a result
    result: Result | None = None  #: the result of all rows, if they ran in one batch
    results: list[tuple[int, Result]] | None = None  #: if split, of each part: first row, result
    open: bool = True  #: False once its outcome is known, even if its Deferred has not fired
    error: "BatcherError | None" = None  #: the error with which it ends; None: its result
    answer: "Deferred[Result] | None" = None  #: what submit returned; None once it has fired

    def elapsed_share(self, now: float) -> float:
        """Return ``(now - arrived) / (deadline - arrived)``; 0.0 without a deadline."""
        return (now - self.arrived) / (self.deadline - self.arrived)

    def add(self, piece: Piece[Item], result: Result) -> None:
        """Store *result*, the result of *piece*, whose rows (of this request) are then done."""
        rows = piece.stop - piece.start
        self.done += rows
        if rows == self.rows:
            self.result = result
        elif self.results is None:
            self.results = [(piece.start, result)]
        else:
            self.results.append((piece.start, result))

    def joined(self, join: Callable[[Sequence[Result]], Result]) -> Result:
        """
        Return the result of all rows; the caller ensures that all rows are done.

        If the request ran in several parts, *join* combines their results, in the order of the
        rows; else *join* is not called.
        """
        if self.results is None:
            return cast("Result", self.result)
        return join([result for _, result in sorted(self.results, key=itemgetter(0))])


@dataclass(slots=True, eq=False)
class Part(Piece[Item], Generic[Item, Result]):
    """A piece together with its request."""

    request: Request[Item, Result]
