"""
One timer that fires no later than the time to which it was set.

Belongs to the reactor thread; the clock is given.
"""

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class DeadlineTimer:
    """
    Calls *fire* once, at the time set or earlier.

    The timer is then unset: if it was early, *fire* must set it again.
    """

    def __init__(self, clock: IReactorTime, fire: Callable[[], object]) -> None:
        self._clock = clock
        self._fire = fire
        self._call: IDelayedCall | None = None
        self.at = inf  #: the time at which it fires next, in seconds of the clock

    def set(self, due: float) -> None:
        """
        Fire no later than *due*; an earlier time that is already set is kept.

        If *due* is inf, cancel the timer.
        """
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
