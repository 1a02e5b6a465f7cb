"""
Say in the log that connections are refused since the process has no file descriptor for them.

Twisted accepts such a connection and closes it at once, and logs that below the level that this
log shows, a line or two each.  Its events are all that shows it.
"""

import resource
from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import implementer

#: Seconds between two lines: without a descriptor, connections are refused by thousands.
MIN_INTERVAL_SECONDS = 10.0

#: What Twisted's ports log, by the beginnings of their formats.
_NAMESPACE = "twisted.internet."
_CLOSED = "EMFILE recovery: Closed socket"
_NOT_ACCEPTED = "Could not accept new connection"

_log = Logger()


@implementer(ILogObserver)
class RefusedConnections:
    """An observer that logs refused connections, at most every `MIN_INTERVAL_SECONDS`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._refused = 0

    def __call__(self, event: LogEvent) -> None:
        """Called with each event, on whichever thread logs it; ports log on the reactor's."""
        text = event.get("log_format") or ""
        if not str(event.get("log_namespace", "")).startswith(_NAMESPACE):
            return
        if not text.startswith((_CLOSED, _NOT_ACCEPTED)):
            return
        self._refused += 1
        now = self._seconds()
        if now < self._next:
            return
        self._next = now + MIN_INTERVAL_SECONDS
        error = event.get("acceptError", "EMFILE")
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        _log.warn(
            "connections are refused, {refused} so far: {reason}",
            refused=self._refused,
            reason=f"all {limit} file descriptors are in use (ulimit -n)"
            if error == "EMFILE"
            else f"the system has no room ({error})",
        )


def log_refused_connections(seconds: Callable[[], float]) -> None:
    """Log refused connections from now on; *seconds* is the reactor's time."""
    globalLogPublisher.addObserver(RefusedConnections(seconds))
