"""
Refuse a request that would wait too long for a decode thread.

`server.inference.Inference.admit` makes two checks: this one compares the wait for the decode
threads with the time that remains for the request; batcher/admission.py does so for the queue and
the model.  Pure; times are seconds.
"""

from batcher.errors import Overloaded
from batcher.learning.margin import AdmissionMargin
from model.execution.queues import FeedQueue

#: Weight of a new measurement in the moving average of decoding times.
AVERAGE_WEIGHT = 0.1


class DecodeAdmission:
    """Learns how long decoding takes, and refuses requests that would wait too long."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        #: The average decoding time of one request, in seconds; 0.0 before the first measurement.
        self.average = 0.0
        self._margin = AdmissionMargin()

    def observe(self, seconds: float) -> None:
        """Update average and margin with a request that took *seconds* on a decode thread."""
        weight = AVERAGE_WEIGHT if self.average else 1.0
        self.average += weight * (seconds - self.average)
        self._margin.met(1.0)

    def observe_missed(self, now: float) -> None:
        """Learn that at *now* a deadline had passed before a thread was free for its request."""
        self._margin.missed(now, self.average)

    def admit(self, pending: int, queue: FeedQueue, allowed: float) -> None:
        """
        Raise `Overloaded` if decoding and one run of *queue* would end too late.

        *pending* requests wait for the threads or are on one; *allowed* seconds remain for the
        answer.  The expected wait is ``(pending + 1 - threads) / threads * average`` and the run of
        one row, times the margin learned from requests that were admitted and missed their
        deadline.  A request that finds a thread free is admitted.
        """
        behind = pending + 1 - self.threads
        if behind > 0:
            wait = behind / self.threads * self.average + queue.latency.predict(1)
            wait *= self._margin.factor
            if wait > allowed:
                raise Overloaded(wait, allowed)
