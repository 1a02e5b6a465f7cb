"""
End the process on a signal that comes before the server hears signals itself.

An entry point calls `end_on_signals` before it imports anything else: imports take most of a
second.  Until then process 1 of a container would lose SIGTERM, for which the kernel has no
default there, and SIGINT would print a traceback of an import.  May import nothing but the standard
library.
"""

import os
import signal
from types import FrameType


def end_on_signals() -> None:
    """
    Have SIGTERM and SIGINT end the process at once, with the exit code 128 + their number.

    SIGTERM is left as it is where the process is not number 1: its default ends the process with
    the same code in a shell.  A signal that is ignored, as under nohup, stays ignored.
    """
    if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupt_again() -> None:
    """Have SIGINT raise KeyboardInterrupt again: commands and the reactor's own handler need it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
