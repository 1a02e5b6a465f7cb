"""
The log of ``twistd tensorferry``: where twistd would write it, through our writer.

twistd's own options decide on the place: ``--logfile``, or standard output.  With ``--syslog`` and
``--logger`` twistd writes the log by itself, as text, and each line of the access log is an event.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from twisted.python.logfile import LogFile

from server.process.log_lines import JSON, TWISTD
from server.process.log_writer import write_all
from server.process.logs import ServerLog
from server.settings.table import LogFormat

#: Standard output.
_STDOUT = "-"


def twistd_log(twistd: Mapping[str, Any], log_format: LogFormat, reactor: Any) -> ServerLog | None:
    """
    Return the log for the options of *twistd*; None if twistd writes it itself.

    Opens no file yet.  *reactor* is Any for the same reason as in `InferenceService`.
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
    return ServerLog(RotatedFile(path, reactor).write, lines)


def _to_stream(stream: Any) -> Callable[[bytes], None]:  # Any: a test's stream has no descriptor
    def write(lines: bytes) -> None:
        write_all(stream.fileno(), lines)

    return write


class RotatedFile:
    """The file of ``--logfile``, which twistd rotates by its size, and at SIGUSR1."""

    def __init__(self, path: str, reactor: Any) -> None:
        """Open no file yet: `write` does, on the main thread, when twistd begins its log."""
        self._path = os.path.abspath(path)  # noqa: PTH100 - as Twisted does
        self._reactor = reactor
        self._file: LogFile | None = None
        # Reentrant: a finalizer may log while the thread writes.
        self._lock = threading.RLock()

    def write(self, lines: bytes) -> None:
        """Write *lines*; called on the main thread, and then on that of the writer."""
        with self._lock:
            if self._file is None:
                self._file = LogFile.fromFullPath(self._path)
                if not signal.getsignal(signal.SIGUSR1):
                    signal.signal(signal.SIGUSR1, self._rotate_soon)
            self._file.write(lines)

    def _rotate_soon(self, *_: object) -> None:
        self._reactor.callFromThread(self._rotate)

    def _rotate(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.rotate()
