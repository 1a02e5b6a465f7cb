"""
Measure how late the timers of the event loop are.

What blocks the reactor thread delays every connection, and shows here first.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from server.metrics.counts import HistogramCounts
from server.metrics.histogram import DURATION_BOUNDS, HistogramBuffer

#: Seconds between two measurements.
LAG_INTERVAL_SECONDS = 0.1


class EventLoopLag:
    """Counts by how many seconds a timer fires late, every `LAG_INTERVAL_SECONDS`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._due = 0.0
        self._timer: IDelayedCall | None = None
        self._lateness = HistogramBuffer(DURATION_BOUNDS, ("lag",))

    def start(self) -> None:
        """Begin the measurements."""
        self._schedule(self._clock.seconds())

    def stop(self) -> None:
        """End the measurements; a second call does nothing."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def counts(self) -> HistogramCounts:
        """Return the measurements so far."""
        return self._lateness.read()["lag"]

    def _schedule(self, now: float) -> None:
        self._due = now + LAG_INTERVAL_SECONDS
        self._timer = self._clock.callLater(LAG_INTERVAL_SECONDS, self._fired)

    def _fired(self) -> None:
        now = self._clock.seconds()
        self._lateness.observe((max(0.0, now - self._due),))
        self._schedule(now)
