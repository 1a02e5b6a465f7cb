"""
Decide when the rows waiting in a queue become a batch, and how many leave.

Pure: no reactor, no clock, never the payloads.  Times and durations are seconds; sizes are rows.
Views and decisions are made on the inference path, so they are plain slotted data.
"""

from dataclasses import dataclass
from math import copysign, inf, sqrt
from statistics import NormalDist
from typing import Protocol

from batcher.learning.arrivals import UNEXPECTED, Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.learning.returns import NOBODY, Returning
from batcher.learning.sizes import Sizes, Trial
from batcher.trace import Reason

#: Of the best rate, where arrivals count as no more: whoever is late with more is late anyway.
SATURATED = 0.95

#: Of what a hold would gain, the most it may cost.
WORTH_HOLDING = 0.9

#: Of the waiting, what a size must save that never ran, by what its neighbours promise.
WORTH_TRYING = 0.2

#: Batches for which what a trial teaches is good.
HORIZON = 50.0

#: How what is believed differs by chance, in standard errors.
CHANCES = NormalDist()

#: Times the usual until those who have not come back are given up.
PATIENCE = 1.5

#: Of the gain: so long is waited for who usually comes back at once.
LEAST_PATIENCE = 0.125


class LatencyModel(Protocol):
    """Whoever can tell how long a run takes."""

    @property
    def margin(self) -> float:
        """The factor by which a deadline must exceed what is expected, to be met."""

    def predict(self, rows: int) -> float:
        """Return the expected seconds of one run of *rows* rows; 0.0 when not known."""

    def sizes(self, cap: int) -> Sizes:
        """Return the sizes worth running, up to *cap*; none while nothing is known."""


UNKNOWN: LatencyModel = LatencyCurve({})


@dataclass(slots=True)
class QueueView:
    """What a policy may see of the queue of one profile."""

    rows: int  #: rows waiting; 0 when empty
    oldest: float  #: when the head arrived
    deadline: float = inf  #: the earliest deadline waiting
    draining: bool = False  #: nobody else will come
    latency: LatencyModel = UNKNOWN  #: of its runs
    arrivals: Arrivals = UNEXPECTED  #: of its rows
    returning: Returning = NOBODY  #: who was answered last
    head_deadline: float = inf  #: of the request whose turn it is


@dataclass(slots=True)
class LaneView:
    """What a policy may see of the lanes, which all profiles share."""

    idle: int  #: lanes that could start a run now
    total: int
    cap: int  #: the most rows a batch may have; lowered after out of memory


@dataclass(slots=True)
class Launch:
    """Run the next *rows* rows now, without those whose deadline is before *finish*."""

    rows: int
    reason: Reason
    finish: float = -inf


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

        That one of those a ``return-hold`` waits for is back is no change while others are missing.

        At most ``lanes.cap`` rows leave in one batch.  A draining queue with rows must launch
        whenever a lane is idle: nothing will ask again.
        """


class LotPolicy:
    """
    Nothing to tune: never wait for strangers, take as many rows as pay, hold for who comes back.

    Clearing a queue in batches of b rows takes as long as it takes until runs have caught up with
    arrivals, and everyone in a batch waits for its end: `lot_size` finds the b with the least sum
    of waiting.  An idle lane never waits, but for the few clients who were just answered and whose
    next requests would otherwise ride in a run of their own.
    """

    def __str__(self) -> str:
        return "lot sizes by measured run times and arrivals"

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch what pays, or wait for who comes back."""
        if queue.rows == 0 or lanes.idle == 0:
            return IDLE
        until = _held_until(queue, lanes)
        if now < until:
            return WaitUntil(until, "return-hold")
        share = -(-queue.rows // lanes.idle)
        rows = lot_size(share, lanes, queue)
        latency, late = queue.latency, queue.head_deadline - now
        finish = now + latency.margin * latency.predict(rows if rows < queue.rows else 1)
        if queue.rows == 1:
            finish = -inf  # it keeps nobody waiting, and shows what a run takes now
        if rows == queue.rows and late < latency.margin * latency.predict(rows):
            rows = _within(late / latency.margin, rows, latency)
            return Launch(rows, "deadline", finish)
        return Launch(rows, _why(rows, share, queue, lanes), finish)


def lot_size(share: int, lanes: LaneView, queue: QueueView) -> int:
    """
    Return how many rows leave so that those who wait, and those who come, wait least.

    *share* of the rows wait for this lane.  With n of them, a surge that is yet to come counted
    among them, with batches of b rows and a rate of arrivals r, the sum is proportional to
    ``(2 n + b) / (b / l(b) - r)``.  Sizes of which nothing is known are tried, each twice the last.
    So are those that have not run for long, where many wait, and those with which the sum may be
    less than with the best, where a trial is worth what it costs.
    """
    sizes = fitting(queue.latency.sizes(lanes.cap), queue.head_deadline - queue.oldest)
    largest = min(share, lanes.cap)
    due = next((rows for rows in sizes.due if 2 * rows <= share), 0)
    if due:
        return due
    if largest > sizes.measured:
        return min(largest, 2 * sizes.measured) or largest
    best, expected = 1, sizes.expected[0]
    rate = min(queue.arrivals.rate / lanes.total, SATURATED * sizes.rates[-1])
    waiting = 2.0 * (share + queue.arrivals.surge / lanes.total)
    least = inf
    for rows, certain, likely in zip(sizes.rows, sizes.rates, sizes.expected, strict=True):
        if rows > share:
            break
        if certain <= rate:
            # The largest yet, and the quickest: it catches up soonest.
            best, expected = rows, likely
        elif (cost := (waiting + rows) / (certain - rate)) < least:
            best, least, expected = rows, cost, likely
    # Where runs do not catch up: as if they just did.
    spare = max(expected - rate, (1.0 - SATURATED) * expected)
    tried, most = best, 0.0
    for it in sizes.trials:
        if best != it.rows <= share:
            loss = (it.rows - best) / (waiting + best) - (it.rate - expected) / spare
            if (worth := _worth(it, loss, it.error * it.rate / spare)) > most:
                tried, most = it.rows, worth
    return tried


def _worth(it: Trial, loss: float, error: float) -> float:
    """
    Return what a trial is worth, of the waiting with the best: 0 or less where it costs more.

    *loss* is what is expected to be waited longer, and *error* its standard error; both are of the
    waiting with the best.  It takes as many runs as are known of the size to halve its variance, if
    no other size tells of it.  What is then believed to be lost differs from *loss* by chance, and
    whatever turns out to be a gain, is one for the batches to come.
    """
    if not it.runs:
        return HORIZON * max(0.0, -loss - WORTH_TRYING)
    differs = error * sqrt(0.5)
    far = loss / differs if differs else copysign(inf, loss)
    gain = differs * CHANCES.pdf(far) - loss * CHANCES.cdf(-far)
    return HORIZON * gain - it.runs * max(0.0, loss)


def fitting(sizes: Sizes, allowed: float) -> Sizes:
    """
    Return those of *sizes* of which two runs fit into *allowed* seconds; at least the first.

    Who just misses a run waits for its end and rides in the next one.
    """
    if 2.0 * sizes.longest <= allowed or not sizes.rows:
        return sizes
    fit = sum(2.0 * b <= allowed * rate for b, rate in zip(sizes.rows, sizes.rates, strict=True))
    fit = max(1, fit)
    return Sizes(
        sizes.rows[:fit], sizes.rates[:fit], sizes.expected[:fit], sizes.longest, sizes.measured
    )


def _held_until(queue: QueueView, lanes: LaneView) -> float:
    """Return when a lane stops waiting for those who come back; the past where it does not."""
    latency, back = queue.latency, queue.returning
    together = queue.rows + back.rows
    if not back.rows or queue.draining or together > lanes.cap:
        return -inf
    shared = latency.predict(together)
    gain = latency.predict(queue.rows) + latency.predict(back.rows) - shared
    usual = back.within(together)
    if usual > WORTH_HOLDING * gain:
        return -inf
    patience = min(gain, max(PATIENCE * usual, LEAST_PATIENCE * gain))
    return min(back.since + patience, queue.deadline - latency.margin * shared)


def _within(seconds: float, rows: int, latency: LatencyModel) -> int:
    """Return the most of *rows* rows whose run takes at most *seconds*; at least 1."""
    while rows > 1 and latency.predict(rows) > seconds:
        rows -= 1
    return rows


def _why(rows: int, share: int, queue: QueueView, lanes: LaneView) -> Reason:
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
    """Return when *rows* must leave for their deadline; the past, or never, if none can tell."""
    expected = queue.latency.predict(rows)
    if expected > 0.0:
        return queue.deadline - expected
    return -inf if queue.deadline <= waited else inf
