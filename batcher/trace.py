"""
What happened to one request: how long it queued, and the batches it rode in.

Plain data that the batcher writes and its owner may read at any time, on the reactor thread.
Imports nothing of ours.
"""

from dataclasses import dataclass, field
from typing import Literal

#: Why a batch left.
Reason = Literal[
    "full", "idle", "lot", "return-hold", "fixed", "deadline", "drain", "retry", "alone"
]


@dataclass(slots=True)
class Run:
    """One batch, shared by the traces of all who rode in it."""

    rows: int  #: rows of the whole batch
    cap: int  #: the most rows a batch could have at that launch
    reason: Reason  #: why it left
    seconds: float | None = None  #: how long it ran, failed or not; None until it has ended


@dataclass(slots=True)
class Trace:
    """
    The journey of one request; pass a new one to each submit.

    A request that was split or retried has several runs, in the order of their launches.
    """

    #: Seconds until the first launch, or until it ended without one; None while it waits.
    queued: float | None = None
    runs: list[Run] = field(default_factory=list)

    def left(self, waited: float) -> None:
        """Note that the request has *waited* so many seconds, unless that is already known."""
        if self.queued is None:
            self.queued = max(0.0, waited)
