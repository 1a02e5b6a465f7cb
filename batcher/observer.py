"""
The interface through which a batcher reports launches, runs, and the end of each row.

Pure declarations; for totals, recent runs and metrics.
"""

from typing import Any, Literal, Protocol

from batcher.errors import RefusalCause, Stage
from batcher.queue import Queue
from batcher.trace import Run

#: Where a request was found to be late; ``decode``: before it was submitted.
ExpiryStage = Stage | Literal["decode"]

#: Where a request was cancelled: before its first launch, after it, or before it was submitted.
CancelStage = Literal["queue", "run", "decode"]


class Observer(Protocol):
    """
    Called at each launch, and at the end of each run and of each row.

    Each row of a submitted request ends in exactly one call of `answered`, `failed`, `refused`,
    `expired` or `cancelled`; *rows* is the number of all rows of the request.  The caller of a
    batcher reports requests that end before they are submitted, as one row.  Called on the reactor
    thread, just before the Deferred of the request fires; must neither raise nor call the batcher.
    """

    def launched(self, queue: Queue[Any, Any], run: Run) -> None:
        """A batch of *queue* is launched as *run*."""

    def ended(self, queue: Queue[Any, Any], run: Run, error: BaseException | None) -> None:
        """*run* has ended: with *error*, or with results.  Its requests may be run again."""

    def answered(self, queue: Queue[Any, Any], rows: int) -> None:
        """A request of *queue* has its result."""

    def failed(self, queue: Queue[Any, Any], rows: int, error: BaseException) -> None:
        """A request that was accepted fails with *error*, and none of the below is the case."""

    def refused(self, queue: Queue[Any, Any], rows: int, cause: RefusalCause) -> None:
        """A request for *queue* is not accepted."""

    def expired(self, queue: Queue[Any, Any], rows: int, stage: ExpiryStage) -> None:
        """A request is too late, or can no longer meet its deadline."""

    def cancelled(self, queue: Queue[Any, Any], rows: int, stage: CancelStage) -> None:
        """The Deferred of a request is cancelled by its owner."""
