"""
Report why a start has failed, in the log, and end the process with the right exit code.
"""

from collections.abc import Callable

from twisted.logger import Logger

from server.settings.option import printable
from server.settings.table import Settings

_log = Logger()


class StartFailure:
    """Reports why the start has failed, and stops the reactor."""

    def __init__(
        self, settings: Settings, stop: Callable[[], object], *, worker: bool = False
    ) -> None:
        """*worker*: whether the process is one of several, whose supervisor has its addresses."""
        self.has_failed = False
        self._settings = settings
        self._stop = stop
        self._worker = worker

    def report(self, reason: str) -> None:
        """Log the *reason*, and what may explain it."""
        from server.doctor.examination import explain  # noqa: PLC0415 - imports much, seldom needed

        _log.critical("{reason}", reason=reason)
        for line in explain(reason, self._settings, worker=self._worker):
            _log.warn("{line}", line=printable(line))

    def fail(self, reason: str) -> None:
        """Report the *reason*, unless it is empty, and stop the reactor."""
        self.has_failed = True
        if reason:
            self.report(reason)
        self._stop()
