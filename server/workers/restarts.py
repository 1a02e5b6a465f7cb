"""
When a worker that has ended is started again.

Pure.  Times are seconds.
"""

MIN_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0

#: A worker that was ready for this long has started well: the next delay is the shortest.
MIN_STABLE_SECONDS = 60.0


class RestartDelays:
    """The delays of one worker: each is twice the one before."""

    def __init__(self) -> None:
        self._next = MIN_DELAY_SECONDS

    def delay(self, ready_seconds: float) -> float:
        """
        Return the seconds until the next start.

        *ready_seconds* is how long the ended worker was ready; 0 if it never was.
        """
        if ready_seconds >= MIN_STABLE_SECONDS:
            self._next = MIN_DELAY_SECONDS
        delay, self._next = self._next, min(2 * self._next, MAX_DELAY_SECONDS)
        return delay
