"""
Log that connections are refused because the process has no file descriptor left.

Twisted accepts such a connection and closes it at once.  The only sign is one or two log events for
each connection, at a level below that of our log.
"""

import resource
from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import implementer

#: Seconds between two lines of the log, because thousands of connections may be refused.
MIN_INTERVAL_SECONDS = 10.0

#: The events of Twisted's ports: their namespace, and how their formats begin.
_NAMESPACE = "twisted.internet."
_CLOSED = "EMFILE recovery: Closed socket"
_NOT_ACCEPTED = "Could not accept new connection"

_log = Logger()


@implementer(ILogObserver)
class RefusedConnections:
    """A log observer that logs refused connections, at most every `MIN_INTERVAL_SECONDS`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._refused = 0

    def __call__(self, event: LogEvent) -> None:
        """Called with each event, on the thread that logs it; ports log on the reactor thread."""
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
            else f"the system has no descriptor or memory left ({error})",
        )


def log_refused_connections(seconds: Callable[[], float]) -> None:
    """Log refused connections from now on; *seconds* returns the time of a clock, in seconds."""
    globalLogPublisher.addObserver(RefusedConnections(seconds))
