"""
How many rows of other priorities may be launched before the waiting ones.

Counts by the documented shares, independent of the counters of the batcher.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from batcher.priority import Priority

#: Rows of each priority that are launched while all of them wait.
SHARES = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}

#: Key of the queue, and priority.
QueueLevel = tuple[str, Priority]


@dataclass
class Ready:
    """A queue level that waits for its turn only."""

    head: int  #: number of the next request
    rows: int = 0


@dataclass(frozen=True)
class LaunchedPart:
    """A part of a launched batch."""

    number: int  #: of the request
    priority: Priority
    rows: int


class Fairness:
    """
    Checks each launched batch: no level is passed over for longer than is fair.

    Rows that fill a batch cost other levels nothing: they delay no other queue, and use no turn of
    their priority in other queues.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        #: Rows of a priority that may be launched before one of a level; below 0: too many.
        self._may_pass = {
            (key, level): dict.fromkeys(Priority, 0.0) for key in keys for level in Priority
        }

    def launch(
        self,
        key: str,
        pieces: list[LaunchedPart],
        ready: dict[QueueLevel, Ready],
        waiting: Mapping[QueueLevel, int],
        batch: int,
    ) -> None:
        """
        Record that *pieces* of the queue *key* are launched; the first had its turn.

        *waiting* has the heads of all levels, *ready* the levels that wait for their turn only.
        Raises AssertionError if one of these has been passed over by more than its share, one turn
        and two batches of *batch* rows: one batch for rows launched before it arrived, and one
        because its turn may come within a batch.
        """
        turn = pieces[0].priority
        heads = [it.head for (_, level), it in ready.items() if level is turn]
        assert pieces[0].number <= min(heads, default=inf), "an older request had the same turn"
        self._forgive_absent(turn, waiting)
        for piece in pieces:
            elsewhere = (waiting[it] for it in waiting if it[1] is piece.priority and it[0] != key)
            younger = piece.number > min(elsewhere, default=inf)
            for line in self._may_pass:
                fills = piece.priority is not turn and (younger or line[0] != key)
                self._record(line, piece, ready.get(line), mine=line[0] == key, fills=fills)
            own = ready.get((key, piece.priority))
            if own is not None:
                own.rows -= piece.rows
                if own.rows <= 0:
                    del ready[key, piece.priority]
        for line in ready:
            for other in Priority:
                allowed = SHARES[other] / SHARES[line[1]] + 2 * batch
                assert self._may_pass[line][other] >= -allowed, f"{line} starves"

    def _forgive_absent(self, turn: Priority, waiting: Mapping[QueueLevel, int]) -> None:
        """Reset the claims of levels without requests during the *turn* of others."""
        absent = set(Priority) - {level for _, level in waiting}
        for line, may_pass in self._may_pass.items():
            if line[1] is turn:
                may_pass.update(dict.fromkeys(absent, 0.0))

    def _record(
        self, line: QueueLevel, piece: LaunchedPart, ready: Ready | None, *, mine: bool, fills: bool
    ) -> None:
        """Record the effect of *piece* on *line*."""
        may_pass = self._may_pass[line]
        if piece.priority is line[1]:
            if mine or not fills or ready is None or piece.number < ready.head:
                for other in Priority:
                    may_pass[other] += piece.rows * SHARES[other] / SHARES[line[1]]
        elif not fills:
            left = may_pass[piece.priority] - piece.rows
            may_pass[piece.priority] = max(0.0, left) if ready is None else left
