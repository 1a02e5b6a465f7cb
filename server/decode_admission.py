"""
Refuse a request that would wait too long for a decode thread.

`server.admission.Admission.admit` makes two checks: this one compares the wait for the decode
threads with the time that remains until the deadline; batcher/admission.py does so with the wait
for the queue and the model.  Pure; times are seconds.
"""

from batcher.errors import Overloaded
from batcher.learning.margin import TYPICAL_SLACK, AdmissionMargin
from model.execution.queues import FeedQueue

#: Weight of a new measurement in the moving average of decoding times.
AVERAGE_WEIGHT = 0.1


class DecodeAdmission:
    """Learns how long decoding takes, and refuses requests whose wait would be too long."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        #: The average decoding time of one request, in seconds; 0.0 before the first measurement.
        self.average = 0.0
        self._margin = AdmissionMargin()

    def observe(self, seconds: float) -> None:
        """Update the average and the margin after a request took *seconds* on a decode thread."""
        weight = AVERAGE_WEIGHT if self.average else 1.0
        self.average += weight * (seconds - self.average)
        self._margin.met(1.0 - TYPICAL_SLACK)

    def observe_missed(self, now: float) -> None:
        """Learn, at the time *now*, that a request missed its deadline before a thread was free."""
        self._margin.missed(now, self.average)

    def admit(self, pending: int, queue: FeedQueue, allowed: float) -> None:
        """
        Raise `Overloaded` if the `expected_wait` is longer than *allowed* seconds.

        The other arguments are those of `expected_wait`.
        """
        wait = self.expected_wait(pending, queue)
        if wait > allowed:
            raise Overloaded(wait, allowed)

    def expected_wait(self, pending: int, queue: FeedQueue) -> float:
        """
        Return the expected seconds until a request that arrives now is decoded and has run.

        *pending* is the count of requests before it that wait for a thread or run on one.  The wait
        is the sum of ``(pending + 1 - threads) / threads * average``, with the average decoding
        time, and the run of one row in *queue*.  This sum is multiplied by the margin, which is
        learned from requests that were admitted and missed their deadline.  If a thread is free,
        return 0.0: the request does not wait for a thread.
        """
        behind = pending + 1 - self.threads
        if behind <= 0:
            return 0.0
        wait = behind / self.threads * self.average + queue.latency.predict(1)
        return wait * self._margin.factor

    @property
    def added_wait(self) -> float:
        """The seconds by which each request that waits for a thread makes that wait longer."""
        return self.average / self.threads * self._margin.factor
