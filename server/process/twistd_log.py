"""
The log of ``twistd tensorferry``: where twistd would write it, through our writer.

twistd's own options decide on the place: ``--logfile``, or standard output.  With ``--syslog`` and
``--logger`` twistd writes the log by itself, as text, and each line of the access log is an event.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.python.logfile import LogFile

from server.process.log_lines import JSON, TWISTD
from server.process.log_writer import write_all
from server.process.logs import ServerLog
from server.settings.table import LogFormat

#: Standard output.
_STDOUT = "-"


def twistd_log(twistd: Mapping[str, Any], log_format: LogFormat) -> ServerLog | None:
    """
    Return the log for the options of *twistd*; None if twistd writes it itself.

    Opens no file yet.
    """
    is_daemon = not twistd.get("nodaemon", True)
    path = twistd.get("logfile") or ("twistd.log" if is_daemon else _STDOUT)
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    if is_daemon and path == _STDOUT:
        return None  # twistd reports that as an error
    lines = JSON if log_format == "json" else TWISTD
    if path == _STDOUT:
        # twistd replaces sys.stdout later.
        return ServerLog(_to_stream(sys.stdout), lines)
    return ServerLog(RotatedFile(path).write, lines)


def _to_stream(stream: Any) -> Callable[[bytes], None]:  # Any: a test's stream has no descriptor
    def write(lines: bytes) -> None:
        write_all(stream.fileno(), lines)

    return write


class RotatedFile:
    """
    The file of ``--logfile``, which is rotated by its size, as twistd does, and after SIGUSR1.

    After the signal the next line begins a new file: the disk may be slow, and the signal handler
    runs on the reactor thread.
    """

    def __init__(self, path: str) -> None:
        """Open no file yet: `write` does, on the main thread, when twistd begins its log."""
        self._path = os.path.abspath(path)  # noqa: PTH100 - as Twisted does
        self._file: LogFile | None = None
        self._rotation_is_due = False

    def write(self, lines: bytes) -> None:
        """Write *lines*; called on the main thread, later on that of the writer, one at a time."""
        if self._file is None:
            self._file = LogFile.fromFullPath(self._path)
            if not signal.getsignal(signal.SIGUSR1):
                signal.signal(signal.SIGUSR1, self._rotate_next)
        if self._rotation_is_due:
            self._rotation_is_due = False
            self._file.rotate()
        self._file.write(lines)

    def _rotate_next(self, *_: object) -> None:
        self._rotation_is_due = True
