"""
One timer, that rings no later than asked.

Belongs to the reactor thread; the clock is given.
"""

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Wake:
    """Calls *ring* when it is time, and perhaps sooner: then it is to be set again."""

    __slots__ = ("_call", "_clock", "_ring", "at")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._call: IDelayedCall | None = None
        self.at = inf  #: when it rings next

    def set(self, due: float) -> None:
        """Ring at *due*, or never if that is inf; one that rings sooner is left alone."""
        if due == inf:
            if self._call is not None:
                self._call.cancel()
            self._call, self.at = None, inf
        elif due < self.at:
            delay = max(0.0, due - self._clock.seconds())
            if self._call is None:
                self._call = self._clock.callLater(delay, self._rings)
            else:
                self._call.reset(delay)
            self.at = due
        # Else it rings too early and is set again then: cheaper than setting it at every submit.

    def _rings(self) -> None:
        self._call, self.at = None, inf
        self._ring()
