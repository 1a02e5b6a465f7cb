"""
The admission margin: a factor learned from the missed and met deadlines of admitted requests.

The expected wait is computed from runs alone and ignores delays elsewhere: a busy machine, a front
end, another process.  Pure: the caller passes the outcomes of requests.
"""

from math import inf

#: A miss raises the factor by this share.
MISS_STEP = 0.2

#: The share of misses among the batches that were admitted with little time left.  Low, because a
#: request that misses its deadline has cost a decoding, and its client has waited for an error.
TARGET_MISS_SHARE = 0.005

#: The share of the time allowed that is left when a batch with little time has met its deadlines.
TYPICAL_SLACK = 0.05

#: The largest factor.
MAX_FACTOR = 2.5

#: An outcome counts if the expected wait is at least this share of the time allowed.
MIN_TIME_SHARE = 0.5


class AdmissionMargin:
    """
    A factor by which the expected wait is multiplied; learned from missed and met deadlines.

    Under load, about `TARGET_MISS_SHARE` of the batches then miss.  A miss multiplies the factor by
    ``1 + MISS_STEP``.  A batch that was admitted with little time left and met its deadlines
    divides the factor by ``(1 + MISS_STEP) ** TARGET_MISS_SHARE`` if `TYPICAL_SLACK` of the time
    allowed is left, so that both balance at the target; by more if more time is left.
    """

    def __init__(self) -> None:
        self.factor = 1.0  #: by which the expected seconds are multiplied
        self._raised = -inf  # when it was raised last

    def missed(self, now: float, pause: float) -> None:
        """
        Learn at *now* that an admitted request has missed its deadline, or will miss it.

        A miss less than *pause* seconds (> 0) after the one that last raised the factor is ignored,
        because both have the same cause.
        """
        if not 0.0 <= now - self._raised < pause:
            self._raised = now
            self.factor = min(MAX_FACTOR, self.factor * (1.0 + MISS_STEP))

    def met(self, share: float) -> None:
        """
        Learn that a batch met its deadlines.

        *share* is ``(end of the batch - arrival) / (deadline - arrival)`` of its first request.
        """
        if share * self.factor >= MIN_TIME_SHARE:
            steps = TARGET_MISS_SHARE * (1.0 - share) / TYPICAL_SLACK
            self.factor = max(1.0, self.factor * (1.0 + MISS_STEP) ** -steps)
