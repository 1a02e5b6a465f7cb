"""
The timers of a reactor with a monotonic clock.

Twisted's `reactor.seconds` is the time of day, which an administrator or NTP may set back.  Queue
times, deadlines and latencies need a clock that never jumps.
"""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class MonotonicTime:
    """`IReactorTime` with the timers of *reactor* and a monotonic `seconds`."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def seconds(self) -> float:
        """Return the time of the monotonic clock, in seconds."""
        return time.monotonic()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 - the interface's own name
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """Call *callable* after *delay* seconds, with the other arguments; return its timer."""
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """Return the reactor's pending timers."""
        return list(self._reactor.getDelayedCalls())
