"""
Decide when the rows waiting in a queue become a batch, and how many rows are launched.

Pure: no reactor, no clock, never the payloads.  Times and durations are seconds; sizes are rows.
Views and decisions are made on the inference path, so they are plain slotted data.
"""

from dataclasses import dataclass
from math import copysign, inf, sqrt
from statistics import NormalDist
from typing import Protocol

from batcher.learning.arrivals import UNEXPECTED, Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.learning.returns import NONE_RETURNING, Returning
from batcher.learning.sizes import Candidate, Sizes
from batcher.trace import Reason

#: Arrivals count as at most this share of the best rate: above it, requests are late anyway.
MAX_RATE_SHARE = 0.95

#: A hold may cost at most this share of what it is expected to gain.
MAX_HOLD_COST_SHARE = 0.9

#: A size that never ran must be expected to save this share of the waiting.
MIN_UNMEASURED_SAVING = 0.2

#: The number of batches that profit from what a run of another size has shown.
EXPLORATION_HORIZON_BATCHES = 50.0

#: The distribution of chance errors, in standard errors.
STANDARD_NORMAL = NormalDist()

#: A hold lasts at most this multiple of the usual return time,
MAX_RETURN_RATIO = 1.5

#: but at least this share of the gain: for clients that usually return at once.
MIN_HOLD_SHARE = 0.125


class LatencyModel(Protocol):
    """Predicts how long runs take."""

    @property
    def margin(self) -> float:
        """The factor by which the time to a deadline must exceed the prediction, to be met."""

    def predict(self, rows: int) -> float:
        """Return the expected seconds of one run of *rows* rows; 0.0 if unknown."""

    def sizes(self, cap: int) -> Sizes:
        """Return the sizes worth running, up to *cap*; none while nothing is known."""


UNKNOWN: LatencyModel = LatencyCurve({})


@dataclass(slots=True)
class QueueView:
    """What a policy may see of one queue."""

    rows: int  #: rows waiting; 0 when empty
    oldest: float  #: when the oldest waiting request arrived
    deadline: float = inf  #: the earliest deadline waiting
    draining: bool = False  #: no further request arrives
    latency: LatencyModel = UNKNOWN  #: of its runs
    arrivals: Arrivals = UNEXPECTED  #: of its rows
    returning: Returning = NONE_RETURNING  #: the clients that were answered last
    head_deadline: float = inf  #: of the request whose turn it is


@dataclass(slots=True)
class LaneView:
    """What a policy may see of the lanes, which all queues share."""

    idle: int  #: lanes that could start a run now
    total: int
    cap: int  #: the largest batch, in rows; lowered after out of memory


@dataclass(slots=True)
class Launch:
    """Run the next *rows* rows now, and drop requests whose deadline is before *finish*."""

    rows: int
    reason: Reason
    finish: float = -inf


@dataclass(slots=True)
class WaitUntil:
    """Ask again at *time*, which is later than now, or after a change."""

    time: float
    reason: Reason  #: why a batch would be launched then


@dataclass(slots=True)
class Idle:
    """Do nothing until something changes."""


Decision = Launch | WaitUntil | Idle

IDLE = Idle()


class Policy(Protocol):
    """When to launch, and how many rows."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """
        Return what to do with *queue*; called after every change, on the reactor thread.

        The arrival of an awaited request during a ``return-hold`` is no change while others are
        missing.

        A batch has at most ``lanes.cap`` rows.  A draining queue with rows must launch whenever a
        lane is idle: the policy is not called again.
        """


class LotPolicy:
    """
    Needs no settings: launches at once, in lots that minimise waiting, except for return-holds.

    Clearing a queue in batches of b rows takes until runs have caught up with arrivals, and each
    request waits for the end of its batch: `lot_size` finds the b with the least sum of waiting.
    An idle lane waits only for the few clients that were just answered and whose next requests
    would otherwise need a run of their own.
    """

    def __str__(self) -> str:
        return "lot sizes by measured run times and arrivals"

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch the best lot, or wait for returning clients."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        until = _held_until(queue, lanes)
        if now < until:
            return WaitUntil(until, "return-hold")
        share = -(-queue.rows // lanes.idle)
        rows = lot_size(share, lanes, queue)
        latency, allowed = queue.latency, queue.head_deadline - now
        finish = now + latency.margin * latency.predict(rows if rows < queue.rows else 1)
        if queue.rows == 1:
            finish = -inf  # no other request waits for it, and its run measures l(1)
        if rows == queue.rows and allowed < latency.margin * latency.predict(rows):
            rows = _within(allowed / latency.margin, rows, latency)
            return Launch(rows, "deadline", finish)
        return Launch(rows, _reason(rows, share, queue, lanes), finish)


def lot_size(share: int, lanes: LaneView, queue: QueueView) -> int:
    """
    Return the number of rows to launch so that waiting and future requests wait least.

    The sum of waiting is proportional to ``(2 n + b) / (b / l(b) - r)``, for batches of b rows, n
    waiting rows and r arriving rows per second.  n is *share*, the waiting rows of this lane, plus
    the expected surge.  While nothing is measured, each size is twice the last one.  Exploration:
    other sizes are launched if they have not run for long and many rows wait, or if they may
    have a smaller sum and that is worth their cost.
    """
    sizes = fitting(queue.latency.sizes(lanes.cap), queue.head_deadline - queue.oldest)
    largest = min(share, lanes.cap)
    stale = next((rows for rows in sizes.stale if 2 * rows <= share), 0)
    if stale:
        return stale
    if largest > sizes.measured:
        return min(largest, 2 * sizes.measured) or largest
    best, expected = 1, sizes.expected[0]
    rate = min(queue.arrivals.rate / lanes.total, MAX_RATE_SHARE * sizes.rates[-1])
    waiting = 2.0 * (share + queue.arrivals.surge / lanes.total)
    least = inf
    for rows, certain, likely in zip(sizes.rows, sizes.rates, sizes.expected, strict=True):
        if rows > share:
            break
        if certain <= rate:
            # Runs do not catch up: take the largest size so far, which has the best rate.
            best, expected = rows, likely
        elif (cost := (waiting + rows) / (certain - rate)) < least:
            best, least, expected = rows, cost, likely
    # If runs do not catch up, as if they just did.
    spare = max(expected - rate, (1.0 - MAX_RATE_SHARE) * expected)
    chosen, most = best, 0.0
    for it in sizes.exploration:
        if best != it.rows <= share:
            loss = (it.rows - best) / (waiting + best) - (it.rate - expected) / spare
            error = it.error * it.rate / spare
            if (improvement := _expected_improvement(it, loss, error)) > most:
                chosen, most = it.rows, improvement
    return chosen


def _expected_improvement(it: Candidate, loss: float, error: float) -> float:
    """
    Return what runs of *it* are worth, relative to the waiting with the best size; <= 0: nothing.

    *loss* is the expected increase of the waiting and *error* its standard error, both relative to
    the waiting with the best size.  ``it.runs`` further runs halve the variance of the estimate;
    each costs *loss*.  The estimate after them differs from *loss* by chance; a gain that they show
    is a gain for `EXPLORATION_HORIZON_BATCHES` batches.
    """
    if not it.runs:
        return EXPLORATION_HORIZON_BATCHES * max(0.0, -loss - MIN_UNMEASURED_SAVING)
    deviation = error * sqrt(0.5)
    distance = loss / deviation if deviation else copysign(inf, loss)
    gain = deviation * STANDARD_NORMAL.pdf(distance) - loss * STANDARD_NORMAL.cdf(-distance)
    return EXPLORATION_HORIZON_BATCHES * gain - it.runs * max(0.0, loss)


def fitting(sizes: Sizes, allowed: float) -> Sizes:
    """
    Return those of *sizes* of which two runs fit into *allowed* seconds; at least the first.

    Two, because a request that just misses a run waits for its end and is part of the next one.
    """
    if 2.0 * sizes.longest <= allowed or not sizes.rows:
        return sizes
    fit = sum(2.0 * b <= allowed * rate for b, rate in zip(sizes.rows, sizes.rates, strict=True))
    fit = max(1, fit)
    return Sizes(
        sizes.rows[:fit], sizes.rates[:fit], sizes.expected[:fit], sizes.longest, sizes.measured
    )


def _held_until(queue: QueueView, lanes: LaneView) -> float:
    """Return when the wait for returning clients ends; -inf or a past time if there is none."""
    latency, returning = queue.latency, queue.returning
    together = queue.rows + returning.rows
    if not returning.rows or queue.draining or together > lanes.cap:
        return -inf
    shared = latency.predict(together)
    gain = latency.predict(queue.rows) + latency.predict(returning.rows) - shared
    usual = returning.within(together)
    if usual > MAX_HOLD_COST_SHARE * gain:
        return -inf
    longest = min(gain, max(MAX_RETURN_RATIO * usual, MIN_HOLD_SHARE * gain))
    return min(returning.since + longest, queue.deadline - latency.margin * shared)


def _within(seconds: float, rows: int, latency: LatencyModel) -> int:
    """Return the most rows, from 1 to *rows*, whose run takes at most *seconds*; at least 1."""
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
    Fixed settings, as in TensorFlow Serving: launch when full, or after the delay of the head.

    *max_batch_size* is in rows, *max_queue_delay* in seconds; 0 never waits.  A deadline moves the
    launch forward by the expected time of the run.  While that is unknown, a deadline within the
    delay launches at once.
    """

    max_batch_size: int
    max_queue_delay: float

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or not self.max_queue_delay >= 0.0:
            raise ValueError(
                f"no batch has {self.max_batch_size} rows or waits {self.max_queue_delay} s"
            )

    def __str__(self) -> str:
        delay = f"{1e3 * self.max_queue_delay:g} ms"
        return f"waits up to {delay} for {self.max_batch_size} rows, or the cap if that is less"

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
    """
    Return when *rows* rows must be launched to meet the earliest deadline.

    While the time of a run is unknown: -inf if the deadline is not after *waited*, else inf.
    """
    expected = queue.latency.predict(rows)
    if expected > 0.0:
        return queue.deadline - expected
    return -inf if queue.deadline <= waited else inf
