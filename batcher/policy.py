"""
Decide when the rows waiting in a queue become a batch, and how many leave.

Pure: no reactor, no clock, never the payloads.  Times and durations are seconds; sizes are rows.
Views and decisions are made on the inference path, so they are plain slotted data.
"""

from dataclasses import dataclass
from math import inf
from typing import Protocol

from batcher.latency import LatencyCurve
from batcher.trace import Reason


class LatencyModel(Protocol):
    """Whoever can tell how long a run takes."""

    def predict(self, rows: int) -> float:
        """Return the expected seconds of one run of *rows* rows; 0.0 when not known."""


UNKNOWN: LatencyModel = LatencyCurve({})


@dataclass(slots=True)
class QueueView:
    """What a policy may see of the queue of one profile."""

    rows: int  #: rows waiting; 0 when empty
    oldest: float  #: when the head arrived
    deadline: float = inf  #: the earliest deadline waiting
    draining: bool = False  #: nobody else will come
    latency: LatencyModel = UNKNOWN  #: of its runs


@dataclass(slots=True)
class LaneView:
    """What a policy may see of the lanes, which all profiles share."""

    idle: int  #: lanes that could start a run now
    total: int
    cap: int  #: the most rows a batch may have; lowered after out of memory


@dataclass(slots=True)
class Launch:
    """Run the *rows* oldest rows now."""

    rows: int
    reason: Reason


@dataclass(slots=True)
class WaitUntil:
    """Ask again at *time*, later than now, if nothing changes before."""

    time: float
    reason: Reason  #: why a batch would leave then


@dataclass(slots=True)
class Idle:
    """Nothing to do until something changes."""


Decision = Launch | WaitUntil | Idle

IDLE = Idle()


class Policy(Protocol):
    """When to launch, and how many rows."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """
        Return what to do with *queue*; asked after every change, on the reactor thread.

        At most ``lanes.cap`` rows leave in one batch.  A draining queue with rows must launch
        whenever a lane is idle: nothing will ask again.
        """


class GreedyPolicy:
    """
    Never wait: an idle lane takes what is ready.

    The rows are shared over the idle lanes before a batch is filled, because two half batches
    side by side end sooner than a whole one beside an idle lane.
    """

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch ``ceil(rows / idle)`` rows, at most the cap."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        rows = min(lanes.cap, -(-queue.rows // lanes.idle))
        if rows == lanes.cap:
            return Launch(rows, "full")
        return Launch(rows, "drain" if queue.draining else "idle")


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """
    TensorFlow Serving's way: flush when full, when the head has waited enough, or when it must.

    *max_batch_size* is in rows, *max_queue_delay* in seconds; 0 never waits.  A deadline pulls the
    launch forward by what is expected of the run; while that is not known, a deadline within the
    delay launches at once.
    """

    max_batch_size: int
    max_queue_delay: float

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or not self.max_queue_delay >= 0.0:
            raise ValueError(
                f"no batch has {self.max_batch_size} rows or waits {self.max_queue_delay} s"
            )

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch at most *max_batch_size* rows: ``full``, ``drain``, ``fixed`` or ``deadline``."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        limit = min(self.max_batch_size, lanes.cap)
        rows = min(queue.rows, limit)
        if rows == limit:
            return Launch(rows, "full")
        if queue.draining:
            return Launch(rows, "drain")
        waited = queue.oldest + self.max_queue_delay
        must = _latest_start(queue, waited, rows)
        at = min(must, waited)
        reason: Reason = "deadline" if must < waited else "fixed"
        return Launch(rows, reason) if at <= now else WaitUntil(at, reason)


def _latest_start(queue: QueueView, waited: float, rows: int) -> float:
    """Return when *rows* must leave for their deadline; the past, or never, if none can tell."""
    expected = queue.latency.predict(rows)
    if expected > 0.0:
        return queue.deadline - expected
    return -inf if queue.deadline <= waited else inf
