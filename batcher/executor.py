"""
The interface between the batcher and an executor, which runs batches.

A model imports only this module and `batcher.errors` from the batcher.  Imports nothing of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Piece(Generic[Item]):
    """Rows *start* to *stop* (exclusive) of *item*, a submitted item: all its rows or some."""

    item: Item
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """The number of rows of this piece; at least 1."""
        return self.stop - self.start


class Executor(Protocol[Item, Result]):
    """
    A lane: runs one batch at a time.

    The executor may only read the pieces and their items, and only from the call of `run` until
    its Deferred fires, even if a request is cancelled meanwhile.  An item must therefore not be
    changed after it is submitted.
    """

    @property
    def seconds(self) -> float | None:
        """
        The duration of the last run itself, without the dispatch overhead, in seconds.

        None if it is not known.  Read on the reactor thread after a successful run.
        """

    def run(self, pieces: Sequence[Piece[Item]]) -> Deferred[Sequence[Result]]:
        """
        Run *pieces* as one batch; the Deferred fires with one result per piece, in their order.

        Called on the reactor thread, never again before the Deferred has fired; must not block.
        The Deferred fires on the reactor thread, exactly once, possibly before this returns.  It
        errbacks with `OutOfMemory` if the batch does not fit into memory, with `ShuttingDown` or
        `ResultCountMismatch` if no item is the cause, and with any other error if an item may be
        the cause: the batch is then halved and run again until the faulty item runs alone.
        """
