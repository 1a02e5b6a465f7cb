"""
What happened to one request: how long it queued, and the batches that it was part of.

Plain data: the batcher writes it; the caller of submit may read it at any time, on the reactor
thread.  Imports nothing of ours.
"""

from dataclasses import dataclass, field
from typing import Literal

#: Why a batch was launched.
Reason = Literal[
    "full", "idle", "lot", "explore", "return-hold", "fixed", "deadline", "drain", "retry", "alone"
]


@dataclass(slots=True)
class Run:
    """One launched batch; the traces of all its requests share this object."""

    rows: int  #: rows of the batch
    cap: int  #: the largest batch, in rows, that was allowed at the launch
    reason: Reason  #: why it was launched
    seconds: float | None = None  #: duration of the run, failed or not; None until it has ended
    started: float = 0.0  #: time of the launch, in seconds of the batcher's clock
    expected: float = 0.0  #: predicted duration in seconds; 0.0 if unknown
    waiting_rows: int = 0  #: rows that stayed in the queue at the launch
    #: The part of `seconds` that the lane did not spend in the run itself; 0.0 until the run has
    #: ended, and if it is not known.
    dispatch_overhead: float = 0.0


@dataclass(slots=True)
class Trace:
    """
    The runs of one request; pass a new one to each submit.

    A request that was split or retried has several runs, in the order of their launches.
    """

    #: Seconds until the first launch, or until the end of a request that was never launched.
    #: None while it waits.
    queued: float | None = None
    runs: list[Run] = field(default_factory=list)

    def set_queued(self, waited: float) -> None:
        """Set `queued` to *waited* seconds (at least 0), unless it is set already."""
        if self.queued is None:
            self.queued = max(0.0, waited)
