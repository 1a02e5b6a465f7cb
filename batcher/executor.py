"""
What the batcher asks of whoever runs a batch.

The only module, with the errors, that a model needs to know.  Imports nothing of ours.
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
    the Deferred fires, even when a request was cancelled meanwhile.  Whoever submits an item
    therefore leaves it alone from then on.
    """

    @property
    def seconds(self) -> float | None:
        """
        How long the last run took by itself, without the way there and back.

        None where that is not known; read on the reactor thread, when a run has succeeded.
        """

    def run(self, pieces: Sequence[Piece[Item]]) -> Deferred[Sequence[Result]]:
        """
        Run *pieces* as one batch and return one result a piece, in their order.

        Called on the reactor thread, never again before the Deferred has fired; must not block.
        The Deferred fires on the reactor thread, exactly once, at once if it likes.  It errbacks
        with `OutOfMemory` when so many rows did not fit, with `ShuttingDown` or
        `ResultCountMismatch` when no item is to blame, and with anything else when an item may be:
        the batch is then halved and run again until the bad item stands alone.
        """
