"""
How long to wait before a registry that does not answer is tried again.

Pure but for its count of the tries; *random* is injected.
"""

from collections.abc import Callable

#: The bounds of the longest wait, which doubles with each try.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 15.0


class Backoff:
    """
    Waits that double from `MIN_RETRY_SECONDS` to `MAX_RETRY_SECONDS`.

    Each is between half of that and all of it.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        """*random* returns a number from 0 to 1, as `random.random` does."""
        self._random = random
        self._longest = MIN_RETRY_SECONDS

    def next(self) -> float:
        """
        Return the seconds until the next try.

        They are random, so that many workers do not try a registry at the same moment.
        """
        longest, self._longest = self._longest, min(2 * self._longest, MAX_RETRY_SECONDS)
        return longest * (1 + self._random()) / 2

    def reset(self) -> None:
        """Begin with the shortest wait again: a try has succeeded."""
        self._longest = MIN_RETRY_SECONDS
