"""
One timer that fires no later than the time it was set to.

Belongs to the reactor thread; the clock is given.
"""

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class DeadlineTimer:
    """Calls *fire* at the time set, or earlier: then *fire* must set the timer again."""

    __slots__ = ("_call", "_clock", "_fire", "at")

    def __init__(self, clock: IReactorTime, fire: Callable[[], object]) -> None:
        self._clock = clock
        self._fire = fire
        self._call: IDelayedCall | None = None
        self.at = inf  #: the time at which it fires next, in seconds of the clock

    def set(self, due: float) -> None:
        """Fire no later than *due*; if *due* is inf, not at all.  An earlier time is kept."""
        if due == inf:
            if self._call is not None:
                self._call.cancel()
            self._call, self.at = None, inf
        elif due < self.at:
            delay = max(0.0, due - self._clock.seconds())
            if self._call is None:
                self._call = self._clock.callLater(delay, self._fired)
            else:
                self._call.reset(delay)
            self.at = due
        # For a later time do nothing: the timer fires too early and is set again, which is cheaper
        # than a reset at every submit.

    def _fired(self) -> None:
        """Called when the delay is over."""
        self._call, self.at = None, inf
        self._fire()
