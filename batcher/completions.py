"""
The answers that are due: fired in order, each exactly once, and counted.

Belongs to the reactor thread.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic

from batcher.errors import DeadlineExceeded, RunFailed
from batcher.executor import Item, Result
from batcher.pending import Ticket
from batcher.stats import Totals


class Outbox(Generic[Item, Result]):
    """Tickets that have ended, in the order in which they did."""

    __slots__ = ("_delivering", "_ended", "_join", "_totals")

    def __init__(self, join: Callable[[Sequence[Result]], Result], totals: Totals) -> None:
        """*join* makes one result of several; *totals* counts what became of each row."""
        self._join = join
        self._totals = totals
        self._ended: deque[Ticket[Item, Result]] = deque()
        self._delivering = False

    def put(self, ticket: Ticket[Item, Result]) -> None:
        """Keep *ticket*, which has its results or its error, until the next delivery."""
        self._ended.append(ticket)

    def deliver(self) -> bool:
        """
        Fire what has ended; return whether everything was told.

        An owner who is told may end others: only the outermost delivery goes on with those, so
        that the order holds, and an inner one returns False.
        """
        if self._delivering:
            return False
        self._delivering = True
        try:
            while self._ended:
                self._tell(self._ended.popleft())
        finally:
            self._delivering = False
        return True

    def _tell(self, ticket: Ticket[Item, Result]) -> None:
        answer, ticket.answer = ticket.answer, None
        if answer is None:
            return  # cancelled by a callback of this very turn
        if ticket.error is None:
            try:
                result = ticket.joined(self._join)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                ticket.error = RunFailed(error)
            else:
                self._totals.answered += ticket.rows
                answer.callback(result)
                return
        if isinstance(ticket.error, DeadlineExceeded):
            self._totals.expired += ticket.rows
        else:
            self._totals.failed += ticket.rows
        answer.errback(ticket.error)
