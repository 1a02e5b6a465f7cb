"""
The interface between the batcher and what runs a batch.

With the errors, the only module of the batcher that a model needs.  Imports nothing of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Piece(Generic[Item]):
    """Rows *start* to *stop* (exclusive) of one submitted item: all of them, or a part."""

    item: Item
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """The rows of this piece; at least 1."""
        return self.stop - self.start


class Executor(Protocol[Item, Result]):
    """
    Runs one batch at a time: a lane.

    Ownership: pieces and their items are lent, to be read and never changed, from the call until
    the Deferred fires, even if a request is cancelled meanwhile.  The caller of submit therefore
    must not change an item after submitting it.
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
        errbacks with `OutOfMemory` if so many rows do not fit, with `ShuttingDown` or
        `ResultCountMismatch` if no item is the cause, and with any other error if an item may be:
        the batch is then halved and run again until the bad item runs alone.
        """
