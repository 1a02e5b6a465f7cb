"""
End the process on a signal that arrives before the server installs its own handlers.

An entry point calls `end_on_signals` before all other imports, which take most of a second.
Without it, process 1 of a container would lose a SIGTERM during the imports, because the kernel
applies no default action there, and SIGINT would print a traceback of an import.  Imports only the
standard library.
"""

import os
import signal
from types import FrameType


def end_on_signals() -> None:
    """
    Make SIGTERM and SIGINT end the process at once, with exit code 128 + signal number.

    SIGTERM gets a handler only in process 1; elsewhere its default action ends the process with the
    same code in a shell.  A signal that is ignored, as under nohup, stays ignored.
    """
    if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupt_again() -> None:
    """Make SIGINT raise KeyboardInterrupt again: commands and the reactor's handler need it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
