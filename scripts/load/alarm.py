"""
Wake the reactor on time, to a few hundredths of a millisecond.

`callLater` counts whole milliseconds, always rounded up: a request that is due in 0.1 ms would be
sent a millisecond late, which is a fifth of the latency of a server that takes 5 ms.  Linux's
timerfd, in the reactor like any descriptor, has no such grain.  The time is `time.monotonic`'s.
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
class Alarm:
    """One time at which to call one function; the last one set counts."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._call: Callable[[], object] = lambda: None
        self._reactor = reactor
        reactor.addReader(self)

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call *call* once the monotonic clock shows *when*; in the reactor's next turn if past."""
        self._call = call
        nanoseconds = max(1, round(when * 1e9))  # 0 would mean never
        value = _TimeSpec(*divmod(nanoseconds, 1_000_000_000))
        timer = _TimerSpec(_TimeSpec(0, 0), value)
        self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(timer), None)

    def close(self) -> None:
        """Call nothing any more, and give the descriptor back."""
        self._reactor.removeReader(self)
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for the reactor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return what the reactor's log calls it."""
        return "alarm"

    def doRead(self) -> None:
        """Be woken by the reactor."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # set anew after it had gone off
        self._call()

    def connectionLost(self, reason: Failure) -> None:
        """Hear that the reactor is going; `close` does what is to be done."""
