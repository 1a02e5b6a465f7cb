"""
Priorities: three levels, each served in proportion to its share.

Pure.  Imports nothing of ours.
"""

from collections.abc import Iterable
from enum import IntEnum


class Priority(IntEnum):
    """The level of a request; a smaller number is a higher priority."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


#: Rows of each level that are launched in proportion while all levels wait: none starves.
SHARES = (16, 4, 1)


class Turns:
    """
    Whose turn it is.

    Each launched row charges its level ``1 / share``; the level charged least is the next.
    """

    __slots__ = ("_charged",)

    def __init__(self) -> None:
        self._charged = [0.0] * len(SHARES)

    def next(self, levels: Iterable[int]) -> list[int]:
        """Return *levels* in the order of their turns."""
        return sorted(levels, key=lambda level: (self._charged[level], level))

    def copy(self) -> "Turns":
        """Return a copy, for turns that are not charged to the original."""
        copy = Turns()
        copy._charged = list(self._charged)
        return copy

    def start_turn(self, level: int) -> None:
        """
        Note that it is the turn of *level*.

        A level charged less could not use an earlier turn; it has no claim to that turn any more.
        """
        now = self._charged[level]
        self._charged = [max(now, charged) for charged in self._charged]

    def charge(self, level: int, rows: int) -> None:
        """Charge *level* for *rows* launched rows."""
        self._charged[level] += rows / SHARES[level]
