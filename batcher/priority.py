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


#: The proportions of launched rows while all levels have waiting rows, so that none starves.
SHARES = (16, 4, 1)


class Turns:
    """
    Determines which level has the next turn.

    Each launched row charges its level ``1 / share``; the level charged least is the next.
    """

    __slots__ = ("_charged",)

    def __init__(self) -> None:
        self._charged = [0.0] * len(SHARES)

    def next(self, levels: Iterable[int]) -> list[int]:
        """Return *levels* in the order of their turns."""
        return sorted(levels, key=lambda level: (self._charged[level], level))

    def copy(self) -> "Turns":
        """Return a copy, to determine turns without charging the original."""
        copy = Turns()
        copy._charged = list(self._charged)
        return copy

    def start_turn(self, level: int) -> None:
        """
        Record that a turn of *level* starts.

        Levels charged less had no waiting rows at their turn; they are charged as much as *level*,
        so that they do not make up for that turn later.
        """
        now = self._charged[level]
        self._charged = [max(now, charged) for charged in self._charged]

    def charge(self, level: int, rows: int) -> None:
        """Charge *level* for *rows* launched rows."""
        self._charged[level] += rows / SHARES[level]
