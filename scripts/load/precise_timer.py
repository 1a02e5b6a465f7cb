"""
Call a function on the reactor at a given time, within a few hundredths of a millisecond.

`callLater` counts whole milliseconds, always rounded up: a request that is due in 0.1 ms would be
sent 0.9 ms late, which is a fifth of the latency of a server that takes 5 ms.  Linux's timerfd,
which the reactor watches like any descriptor, has no such limit.  Times are seconds of
`time.monotonic`.
"""

import ctypes
import os
import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK, TFD_CLOEXEC


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


@implementer(IReadDescriptor)
class PreciseTimer:
    """
    A timer that holds one time and one function; `at` replaces both.

    Raises OSError if the system has no timerfd.  Reactor thread only.
    """

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._call: Callable[[], object] = lambda: None
        self._reactor = reactor
        reactor.addReader(self)

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call *call* at the time *when*, or in the reactor's next turn if *when* has passed."""
        self._call = call
        nanoseconds = max(1, round(when * 1e9))  # 0 would mean never
        value = _TimeSpec(*divmod(nanoseconds, 1_000_000_000))
        timer = _TimerSpec(_TimeSpec(0, 0), value)
        self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(timer), None)

    def close(self) -> None:
        """Cancel the call, and close the descriptor."""
        self._reactor.removeReader(self)
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor that the reactor watches."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name of the timer in the reactor's log."""
        return "precise timer"

    def doRead(self) -> None:
        """Called when the time has come: call the function."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # it was set again after it had expired
        self._call()

    def connectionLost(self, reason: Failure) -> None:
        """Called when the reactor stops.  Does nothing: `close` releases the descriptor."""
