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

    Each launched row adds ``1 / share`` to the charge of its level, where *share* is that of the
    level in `SHARES`.  The level with the lowest charge has the next turn.
    """

    def __init__(self) -> None:
        self._charged = [0.0] * len(SHARES)

    def next(self, levels: Iterable[int]) -> list[int]:
        """Return *levels* in the order of their turns: the lowest charge first."""
        return sorted(levels, key=lambda level: (self._charged[level], level))

    def copy(self) -> "Turns":
        """Return a copy, to determine turns without charging the original."""
        copy = Turns()
        copy._charged = list(self._charged)
        return copy

    def start_turn(self, level: int) -> None:
        """
        Record that a turn of *level* starts.

        A level with a lower charge than *level* had no waiting rows at its turn.  Its charge is
        raised to that of *level*, so that it does not make up for that turn later.
        """
        now = self._charged[level]
        self._charged = [max(now, charged) for charged in self._charged]

    def charge(self, level: int, rows: int) -> None:
        """Add *rows* launched rows to the charge of *level*."""
        self._charged[level] += rows / SHARES[level]
