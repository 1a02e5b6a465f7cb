"""
How long to wait before a registry that is away is tried again.

Pure but for its count of the tries; *random* is injected.
"""

from collections.abc import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 15.0


class Backoff:
    """Waits that double from `FIRST_SECONDS` to `MAX_SECONDS`, each between its half and whole."""

    def __init__(self, random: Callable[[], float]) -> None:
        """*random* returns a number from 0 to 1, as `random.random` does."""
        self._random = random
        self._longest = FIRST_SECONDS

    def next(self) -> float:
        """
        Return the seconds until the next try.

        They are random, so that many workers do not come back to a registry at the same moment.
        """
        longest, self._longest = self._longest, min(2 * self._longest, MAX_SECONDS)
        return longest * (1 + self._random()) / 2

    def reset(self) -> None:
        """Begin with the shortest wait again: a try has succeeded."""
        self._longest = FIRST_SECONDS
