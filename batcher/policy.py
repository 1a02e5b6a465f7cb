"""
Decide when the rows waiting in a queue become a batch, and how many rows are launched.

Pure: no reactor, no clock, never the payloads.  Times and durations are seconds; sizes are rows.
Views and decisions are made on the inference path, so they are plain slotted data.
"""

from dataclasses import dataclass
from math import inf
from typing import Protocol

from batcher.learning.arrivals import UNEXPECTED, Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.learning.returns import NONE_RETURNING, Returning
from batcher.learning.sizes import Sizes
from batcher.trace import Reason

#: The arrival rate counts as at most this share of the best rate of runs: if it is higher, requests
#: are late whatever the policy decides.
MAX_RATE_SHARE = 0.95

#: A return-hold may cost at most this share of the run time that it is expected to save.
MAX_HOLD_COST_SHARE = 0.9

#: A return-hold lasts at most this multiple of the usual return time,
MAX_RETURN_RATIO = 1.5

#: but at least this share of the time that it saves: for clients that usually return at once.
MIN_HOLD_SHARE = 0.125


UNKNOWN = LatencyCurve({})


@dataclass(slots=True)
class QueueView:
    """The state of one queue, as far as a policy may depend on it."""

    rows: int  #: rows waiting; 0 when empty
    oldest: float  #: the arrival time of the oldest waiting request
    deadline: float = inf  #: the earliest deadline of its requests
    draining: bool = False  #: no further request will arrive
    latency: LatencyCurve = UNKNOWN  #: the run times of its batches
    arrivals: Arrivals = UNEXPECTED  #: the arrival rate of its rows
    returning: Returning = NONE_RETURNING  #: the clients that were answered last
    head_deadline: float = inf  #: the deadline of the request whose turn it is,
    head_allowed: float = inf  #: and the seconds from its arrival to its deadline


@dataclass(slots=True)
class LaneView:
    """The state of the lanes, which all queues share, as far as a policy may depend on it."""

    idle: int  #: lanes that can start a run now
    total: int  #: all lanes, idle or not
    cap: int  #: the largest batch, in rows; lowered after out of memory


@dataclass(slots=True)
class Launch:
    """
    Run the next *rows* rows now.

    Requests whose deadline is before the time *finish* are dropped and do not run.
    """

    rows: int
    reason: Reason
    finish: float = -inf


@dataclass(slots=True)
class WaitUntil:
    """Launch nothing; ask the policy again at the next change, at the latest at *time*."""

    time: float  #: later than now
    reason: Reason  #: why a batch would be launched at that time


@dataclass(slots=True)
class Idle:
    """Launch nothing; ask the policy again at the next change."""


Decision = Launch | WaitUntil | Idle

IDLE = Idle()


class Policy(Protocol):
    """Decides when to launch a batch, and how many rows it has."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """
        Return what to do with *queue* at *now*; called after every change, on the reactor thread.

        A launch of more than ``lanes.cap`` rows is cut to the cap.  If a draining queue has rows
        and a lane is idle, the policy must launch a batch, because it is not called again.
        """


class LotPolicy:
    """
    Needs no settings: launches at once the number of rows, a lot, that minimises waiting.

    In batches of b rows, a queue becomes empty when the runs have caught up with the arrivals, and
    each request waits for the end of its batch: `lot_size` finds the b with the least total waiting
    time.  There are two exceptions.  Exploration: now and then a batch has another size, to measure
    it.  Return-hold: if a few clients were just answered, and their next requests would otherwise
    need a separate run, an idle lane waits for these requests.
    """

    def __str__(self) -> str:
        return "lot sizes by measured run times and arrivals"

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch a lot, explore, or wait for returning clients; `IDLE` without rows or lanes."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        until = _held_until(now, queue, lanes)
        if now < until:
            return WaitUntil(until, "return-hold")
        share = -(-queue.rows // lanes.idle)
        rows = lot_size(share, lanes, queue)
        latency, left = queue.latency, queue.head_deadline - now
        longest = min(left / latency.margin, queue.head_allowed / 2.0)
        if explored := latency.to_explore(rows, min(share, lanes.cap), longest):
            return Launch(explored, "explore", now + latency.margin * latency.predict(explored))
        finish = now + latency.margin * latency.predict(rows if rows < queue.rows else 1)
        if queue.rows == 1:
            finish = -inf  # no other request waits for it, and its run measures l(1)
        if rows == queue.rows and left < latency.margin * latency.predict(rows):
            rows = _within(left / latency.margin, rows, latency)
            return Launch(rows, "deadline", finish)
        return Launch(rows, _reason(rows, share, queue, lanes), finish)


def lot_size(share: int, lanes: LaneView, queue: QueueView) -> int:
    """
    Return the number of rows to launch so that waiting and future requests wait least.

    The total waiting time is proportional to ``(2 n + b) / (b / l(b) - r)``, for batches of b rows
    that take l(b) seconds, n waiting rows and r arriving rows per second.  n is *share*, the
    waiting rows of one idle lane, plus the rows that this lane expects from a burst.  A size above
    all measured sizes is at most twice the largest of them; if none is measured, launch *share*
    rows, up to the cap.
    """
    sizes = fitting(queue.latency.sizes(lanes.cap), queue.head_allowed)
    largest = min(share, lanes.cap)
    if largest > sizes.measured:
        return min(largest, 2 * sizes.measured) or largest
    best, least = 1, inf
    rate = min(queue.arrivals.rate / lanes.total, MAX_RATE_SHARE * sizes.rates[-1])
    waiting = 2.0 * (share + queue.arrivals.surge / lanes.total)
    for rows, served in zip(sizes.rows, sizes.rates, strict=True):
        if rows > share:
            break
        if served <= rate:
            # Runs do not catch up with arrivals: take the size with the best rate, the largest.
            best = rows
        elif (cost := (waiting + rows) / (served - rate)) < least:
            best, least = rows, cost
    return best


def fitting(sizes: Sizes, allowed: float) -> Sizes:
    """
    Return those of *sizes* whose run time is at most ``allowed / 2`` seconds, but at least one.

    Half, because a request that just misses a run waits for its end and is part of the next run.
    """
    if 2.0 * sizes.longest <= allowed or not sizes.rows:
        return sizes
    fit = sum(2.0 * b <= allowed * rate for b, rate in zip(sizes.rows, sizes.rates, strict=True))
    fit = max(1, fit)
    return Sizes(sizes.rows[:fit], sizes.rates[:fit], sizes.longest, sizes.measured)


def _held_until(now: float, queue: QueueView, lanes: LaneView) -> float:
    """Return until when to wait for returning clients; -inf or a past time: do not wait."""
    latency, returning = queue.latency, queue.returning
    together = queue.rows + returning.rows
    if not returning.rows or queue.draining or together > lanes.cap or returning.since > now:
        return -inf
    shared = latency.predict(together)
    gain = latency.predict(queue.rows) + latency.predict(returning.rows) - shared
    usual = returning.each * together
    if usual > MAX_HOLD_COST_SHARE * gain:
        return -inf
    longest = min(gain, max(MAX_RETURN_RATIO * usual, MIN_HOLD_SHARE * gain))
    return min(returning.since + longest, queue.deadline - latency.margin * shared)


def _within(seconds: float, rows: int, latency: LatencyCurve) -> int:
    """Return the most rows, at most *rows*, expected to run in *seconds*; 1 if none are."""
    while rows > 1 and latency.predict(rows) > seconds:
        rows -= 1
    return rows


def _reason(rows: int, share: int, queue: QueueView, lanes: LaneView) -> Reason:
    if lanes.cap == 1:
        return "alone"
    if rows == lanes.cap:
        return "full"
    if rows < share:
        return "lot"
    if queue.draining:
        return "drain"
    return "return-hold" if queue.returning.held else "idle"


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """
    Launches by fixed settings, as TensorFlow Serving does.

    A batch is launched when *max_batch_size* rows wait, or when the oldest request has waited for
    *max_queue_delay* seconds; with 0 no request waits.  It is launched earlier if the earliest
    deadline requires it: at the deadline minus the expected time of the run.  While that time is
    unknown, a deadline within the delay causes a launch at once.  Raises ValueError if
    *max_batch_size* is below 1 or *max_queue_delay* is negative or not a number.
    """

    max_batch_size: int
    max_queue_delay: float

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or not self.max_queue_delay >= 0.0:
            raise ValueError(
                "a batch needs at least 1 row and a delay of at least 0 s, "
                f"not {self.max_batch_size} rows and {self.max_queue_delay} s"
            )

    def __str__(self) -> str:
        delay = f"{1e3 * self.max_queue_delay:g} ms"
        return f"waits up to {delay} for {self.max_batch_size} rows, or the cap if that is less"

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch up to *max_batch_size* rows now, or wait until a launch is due."""
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
    """
    Return the time at which *rows* rows must be launched to meet the earliest deadline.

    *waited* is the time at which the delay of the oldest request is over.  While the time of a run
    is unknown, return -inf if the deadline is not after *waited*, else inf.
    """
    expected = queue.latency.predict(rows)
    if expected > 0.0:
        return queue.deadline - expected
    return -inf if queue.deadline <= waited else inf
