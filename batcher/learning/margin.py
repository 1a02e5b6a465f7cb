"""
How careful to be in letting requests in, learned from those that were let in and came too late.

What is expected of a wait rests on runs alone, and does not know of all that happens beside them: a
busy machine, a front end, another process.  Pure: told what became of requests.
"""

from math import inf

#: By which somebody who came too late raises the factor.
STEP = 0.2

#: Of the batches that are let in with little time left, so many may have somebody who is late: he
#: has cost a decoding, and waited for his refusal.
LATE = 0.002

#: The largest factor.
MOST = 4.0

#: Of the time that a request has, the share that a wait must be expected to take to tell anything.
TELLING = 0.5


class Caution:
    """
    A factor for what is expected of a wait: under load, all but `LATE` keep to it in the long run.

    Each lateness raises it by `STEP`; each batch in time that was let in with little time left
    lowers it by so much less that both balance.  Whoever would have been refused, was let in after
    a silence and came in time takes back what one lateness did: what made others late has passed.
    """

    __slots__ = ("_raised", "factor")

    def __init__(self) -> None:
        self.factor = 1.0  #: of the seconds that are expected
        self._raised = -inf  # when it was

    def late(self, now: float, pause: float) -> None:
        """
        Note that somebody who was let in came too late, or will, as seen at *now*.

        All within *pause* seconds, over 0, have one cause and count as one.
        """
        if not 0.0 <= now - self._raised < pause:
            self._raised = now
            self.factor = min(MOST, self.factor * (1.0 + STEP))

    def in_time(self, share: float) -> None:
        """Note that a batch came in time, its first request after that *share* of its time."""
        if share * self.factor >= TELLING:
            self.factor = max(1.0, self.factor * (1.0 + STEP) ** -LATE)

    def overdone(self) -> None:
        """Note that somebody came in time who, by what was expected, had no time enough."""
        self.factor = max(1.0, self.factor / (1.0 + STEP))
