"""Timers that move with a `Clock` instead of with time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


class ClockReactor(Clock):
    """A `Clock` with the part of a reactor that watches descriptors; none is ever ready."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []
        self.addReader = self.readers.append
        self.removeReader = self.readers.remove


class ClockTimer:
    """A `scripts.load.drivers.Timer` that uses the timers of a `Clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call *call* at *when*; cancel the call that was set before."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), call)
