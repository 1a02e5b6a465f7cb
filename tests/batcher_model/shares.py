"""
How many rows of other priorities may leave before those who wait.

Counts by the shares that users are told, and by nothing that the batcher itself counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from batcher.priority import Priority

#: Rows of each priority that leave where all of them wait.
SHARES = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}

#: Those of one priority who wait for one kind of run.
Line = tuple[str, Priority]


@dataclass
class Ready:
    """A line that waits for its turn alone."""

    head: int  #: the number of the request that is the next
    rows: int = 0


@dataclass(frozen=True)
class Leaving:
    """A piece of a batch that leaves: whose, and how many rows."""

    number: int  #: of the request
    priority: Priority
    rows: int


class Fairness:
    """
    Told of each batch that leaves; nobody may be passed over for longer than is fair.

    Who fills a place of a batch that would be empty does so at nobody's cost: that delays no other
    kind of run, and is no turn of those of his priority who wait for another kind.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        #: Rows of a priority that may leave before one of a line; below 0, too many have.
        self._may_pass = {
            (key, level): dict.fromkeys(Priority, 0.0) for key in keys for level in Priority
        }

    def leave(
        self,
        key: str,
        pieces: list[Leaving],
        ready: dict[Line, Ready],
        waiting: Mapping[Line, int],
        batch: int,
    ) -> None:
        """
        Note that *pieces* leave for a run of *key*, the first because it was its turn.

        *waiting* are the heads of all lines, *ready* the lines that wait for their turn alone.
        Raises AssertionError where one of these has been passed over by more than its share, one
        turn and two batches of *batch* rows: one was due to what had left before it came, and its
        turn may have come in the midst of the other.
        """
        turn = pieces[0].priority
        heads = [it.head for (_, level), it in ready.items() if level is turn]
        assert pieces[0].number <= min(heads, default=inf), "an older one had the same turn"
        self._forget_the_absent(turn, waiting)
        for piece in pieces:
            elsewhere = (waiting[it] for it in waiting if it[1] is piece.priority and it[0] != key)
            younger = piece.number > min(elsewhere, default=inf)
            for line in self._may_pass:
                fills = piece.priority is not turn and (younger or line[0] != key)
                self._note(line, piece, ready.get(line), mine=line[0] == key, fills=fills)
            own = ready.get((key, piece.priority))
            if own is not None:
                own.rows -= piece.rows
                if own.rows <= 0:
                    del ready[key, piece.priority]
        for line in ready:
            for other in Priority:
                allowed = SHARES[other] / SHARES[line[1]] + 2 * batch
                assert self._may_pass[line][other] >= -allowed, f"{line} starves"

    def _forget_the_absent(self, turn: Priority, waiting: Mapping[Line, int]) -> None:
        """Forget what those who are away could have used while it was the *turn* of others."""
        absent = set(Priority) - {level for _, level in waiting}
        for line, may_pass in self._may_pass.items():
            if line[1] is turn:
                may_pass.update(dict.fromkeys(absent, 0.0))

    def _note(
        self, line: Line, piece: Leaving, ready: Ready | None, *, mine: bool, fills: bool
    ) -> None:
        """Note what it means to *line* that *piece* leaves."""
        may_pass = self._may_pass[line]
        if piece.priority is line[1]:
            if mine or not fills or ready is None or piece.number < ready.head:
                for other in Priority:
                    may_pass[other] += piece.rows * SHARES[other] / SHARES[line[1]]
        elif not fills:
            left = may_pass[piece.priority] - piece.rows
            may_pass[piece.priority] = max(0.0, left) if ready is None else left
