"""
Fire the Deferreds of ended requests in order, each exactly once, and call the observer.

Belongs to the reactor thread.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic

from batcher.errors import DeadlineExceeded, RunFailed
from batcher.executor import Item, Result
from batcher.observer import Observer
from batcher.request import Request


class Completions(Generic[Item, Result]):
    """Requests that have ended and whose Deferreds have not fired, in the order of their end."""

    def __init__(self, join: Callable[[Sequence[Result]], Result], observer: Observer) -> None:
        """*join* combines results of a split request; *observer* is called with each outcome."""
        self._join = join
        self._observer = observer
        self._ended: deque[Request[Item, Result]] = deque()
        self._delivering = False

    def put(self, request: Request[Item, Result]) -> None:
        """Store *request*, which must have its results or its error, until the next delivery."""
        self._ended.append(request)

    def deliver(self) -> bool:
        """
        Fire the Deferreds of all ended requests and return True.

        A callback may end further requests and call this again.  Such an inner call does nothing
        and returns False: the outermost call fires all Deferreds, in order.
        """
        if self._delivering:
            return False
        self._delivering = True
        try:
            while self._ended:
                self._fire(self._ended.popleft())
        finally:
            self._delivering = False
        return True

    def _fire(self, request: Request[Item, Result]) -> None:
        answer, request.answer = request.answer, None
        if answer is None:
            return  # cancelled by a callback of this delivery
        if request.error is None:
            try:
                result = request.joined(self._join)
            except Exception as error:  # noqa: BLE001 - any error of join fails this request alone
                request.error = RunFailed(error)
            else:
                self._observer.answered(request.queue, request.rows)
                answer.callback(result)
                return
        if isinstance(request.error, DeadlineExceeded):
            self._observer.expired(request.queue, request.rows, request.error.stage)
        else:
            self._observer.failed(request.queue, request.rows, request.error)
        answer.errback(request.error)
