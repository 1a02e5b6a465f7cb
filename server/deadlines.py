"""
The default timeout, for requests that set no timeout.

Decides how many seconds a request may take, but refuses no request: server/decode_admission.py
checks whether decoding ends in time, batcher/admission.py whether the run does.  Pure; times are
seconds.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil, inf

from model.execution.queues import FeedQueue

#: Lower bound of a learned timeout, in seconds.
MIN_LEARNED_TIMEOUT = 0.5

#: Full batches that a learned timeout allows to run before the request's own.
BATCHES_AHEAD = 4


def learned_timeout(queue: FeedQueue, rows: int = 1) -> float:
    """
    Return the timeout of a request of *rows* rows, in seconds; inf if *queue* has no measured run.

    The timeout is ``(BATCHES_AHEAD + ceil(rows / cap)) * l(cap)``, but at least
    `MIN_LEARNED_TIMEOUT`; l(cap) is the expected time of a full batch, and the second term counts
    the request's own batches.
    """
    run = queue.latency.predict(queue.cap)
    batches = BATCHES_AHEAD + ceil(rows / queue.cap)
    return max(MIN_LEARNED_TIMEOUT, batches * run) if run > 0.0 else inf


@dataclass(frozen=True, slots=True)
class DefaultTimeout:
    """
    The timeout of requests that set no timeout; it starts when the whole request has arrived.

    Read on the reactor thread only: a learned timeout changes with the queues.
    """

    configured: float | None = inf  #: seconds; inf: no limit; None: learn it from *queues*
    queues: Collection[FeedQueue] = ()  #: those that were measured at the start
    max_queue_delay: float = 0.0  #: seconds a batch may wait for rows; added to a learned timeout

    def __str__(self) -> str:
        seconds = self.seconds
        limit = "any time" if seconds == inf else f"{seconds:.3g} s"
        return f"{limit} for an answer"

    @property
    def seconds(self) -> float:
        """
        The timeout of a request of one row, in seconds; inf: no limit.

        If it is learned, it is the largest present `learned_timeout` of `queues`, plus
        `max_queue_delay`; inf if no queue has a measured run.
        """
        if self.configured is not None:
            return self.configured
        needed = [seconds for seconds in map(learned_timeout, self.queues) if seconds < inf]
        return max(needed) + self.max_queue_delay if needed else inf

    def of(self, queue: FeedQueue, rows: int) -> float:
        """
        Return the timeout, in seconds, of a request of *rows* rows for *queue*.

        If it is learned, it is the larger of `seconds` and the `learned_timeout` of *queue*, and
        so inf if *queue* has no measured run.
        """
        if self.configured is not None:
            return self.configured
        return max(self.seconds, learned_timeout(queue, rows))


#: No time limit for requests that set no timeout.
NO_DEFAULT_TIMEOUT = DefaultTimeout()
