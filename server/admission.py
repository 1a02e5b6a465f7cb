"""
Decide how long a request may take that does not say it, and whether decoding leaves time for it.

Pure; times are seconds.  Whether the model has time for it is the batcher's to say.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from math import ceil, inf

from batcher.errors import Overloaded
from batcher.learning.margin import AdmissionMargin
from batcher.priority import Priority
from model.execution.queues import FeedQueue

#: The least that a request may take which does not say it.
LEAST = 0.5

#: How many full batches may be run before it.
AHEAD = 4

#: Of a new measurement in the moving average of decoding.
WEIGHT = 0.1


def patience(queue: FeedQueue, rows: int = 1) -> float:
    """Return what *rows* rows may take: as long as their own runs and `AHEAD`; inf if unknown."""
    run = queue.latency.predict(queue.cap)
    return max(LEAST, (AHEAD + ceil(rows / queue.cap)) * run) if run > 0.0 else inf


@dataclass(slots=True)
class Terms:
    """What a request asks for beside its answer."""

    since: float = 0.0  #: when its time began, by the monotonic clock
    timeout: float | None = inf  #: seconds; None: the default
    priority: Priority = Priority.NORMAL
    source: Hashable | None = None  #: who sends one request after the other: its connection


#: Of who waits as long as it takes.
ANY_TIME = Terms()


@dataclass(frozen=True, slots=True)
class DefaultTimeout:
    """
    What a request may take that does not say it, counted from when all of it has come.

    Read on the reactor thread alone: what is not asked for changes with the queues.
    """

    asked: float | None = inf  #: seconds; inf: what it takes; None: what the slowest queue needs
    queues: Collection[FeedQueue] = ()  #: those that were measured at the start
    max_queue_delay: float = 0.0  #: seconds that a batch may wait for company, on top of that

    def __str__(self) -> str:
        seconds = self.seconds
        most = "any time" if seconds == inf else f"{seconds:.3g} s"
        return f"{most} for an answer"

    @property
    def seconds(self) -> float:
        """The timeout of a row, by what was last seen of the runs of each queue."""
        if self.asked is not None:
            return self.asked
        needed = [seconds for seconds in map(patience, self.queues) if seconds < inf]
        return max(needed) + self.max_queue_delay if needed else inf

    def of(self, queue: FeedQueue, rows: int) -> float:
        """Return the timeout of *rows* rows: none is shorter than what was never measured."""
        if self.asked is not None:
            return self.asked
        return max(self.seconds, patience(queue, rows))


#: Nobody is refused who does not say how long he waits.
NO_TIMEOUT = DefaultTimeout()


class Decoding:
    """How long decoding takes, and whether there is time to wait for it."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        #: Seconds that a thread takes for one request; 0.0 while nobody knows.
        self.average = 0.0
        self._margin = AdmissionMargin()

    def observe(self, seconds: float) -> None:
        """Learn that a request took *seconds* of a thread; the first counts in full."""
        weight = WEIGHT if self.average else 1.0
        self.average += weight * (seconds - self.average)
        self._margin.met(1.0)

    def late(self, now: float) -> None:
        """Learn that somebody's time was over, at *now*, before a thread was free for him."""
        self._margin.missed(now, self.average)

    def admit(self, pending: int, queue: FeedQueue, allowed: float) -> None:
        """
        Raise `Overloaded` where *pending* requests on or before the threads leave no time.

        *allowed* seconds are left for the answer, of which a run of *queue* takes some.  What is
        expected is taken times a factor that follows from who was let in and came too late.
        """
        behind = pending + 1 - self.threads
        if behind > 0:
            wait = behind / self.threads * self.average + queue.latency.predict(1)
            wait *= self._margin.factor
            if wait > allowed:
                raise Overloaded(wait, allowed)
