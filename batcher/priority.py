"""
How much a request matters beside others: three levels, served in shares.

Pure.  Imports nothing of ours.
"""

from collections.abc import Iterable
from enum import IntEnum


class Priority(IntEnum):
    """The level of a request; the least number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


#: Rows of each level that leave where all of them wait: none is ever passed over for good.
SHARES = (16, 4, 1)


class Turns:
    """
    Whose turn it is: the longer a level has waited for its share, the sooner.

    Each level pays for the rows that leave by one over its share; the one that has paid least
    goes next.
    """

    __slots__ = ("_paid",)

    def __init__(self) -> None:
        self._paid = [0.0] * len(SHARES)

    def next(self, levels: Iterable[int]) -> list[int]:
        """Return *levels*, the one whose turn it is first."""
        return sorted(levels, key=lambda level: (self._paid[level], level))

    def copy(self) -> "Turns":
        """Return another one that has seen the same, for turns that are to count for little."""
        copy = Turns()
        copy._paid = list(self._paid)
        return copy

    def go(self, level: int) -> None:
        """Note that it is the turn of *level*: who could not use an earlier one has forgone it."""
        now = self._paid[level]
        self._paid = [max(now, paid) for paid in self._paid]

    def pay(self, level: int, rows: int) -> None:
        """Note that *rows* rows of *level* have left."""
        self._paid[level] += rows / SHARES[level]
