"""
What our services share with twistd: the log, the pidfile, and the errors.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from twisted.application.service import IServiceCollection, Service
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from server.doctor.examination import explain
from server.lifecycle import StartError
from server.process.signals import Stoppable, end_at_once_on_second_signal, reload_on_hangup
from server.process.twistd_log import twistd_log
from server.settings.option import printable
from server.settings.table import LogFormat, Settings

_log = Logger()


class TwistdProcess:
    """The process that twistd runs, with the options *twistd* of twistd itself."""

    def __init__(self, twistd: Mapping[str, Any], log_format: LogFormat, reactor: Any) -> None:
        """*reactor* is Any as in `InferenceService`."""
        self.reactor = reactor
        self.is_daemon = not twistd.get("nodaemon", False)
        #: None if twistd writes it itself.
        self.log = twistd_log(twistd, log_format)
        self._pidfile: str = twistd.get("pidfile") or ""

    def remove_pidfile(self) -> None:
        """Remove the pidfile, if there is one."""
        with suppress(OSError):
            os.unlink(self._pidfile)  # noqa: PTH108 - as twistd itself names it

    def fail(self, reason: str) -> None:
        """
        Report the *reason*, unless it is empty, and stop the reactor.

        The process then ends with exit code 1.
        """
        if reason:
            self._report(reason)
        self.remove_pidfile()
        # twistd alone would end with 0.
        self.reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self.reactor.stop()

    def not_bound(self, error: StartError) -> Exception | SystemExit:
        """Report that an address cannot be bound; return the error to raise."""
        if self.is_daemon:
            self._log_explanation(str(error))
            # twistd passes 100 bytes to the parent, which begin with the error's class: that of
            # Python has a short name.
            return OSError(str(error))
        self.remove_pidfile()
        self._report(str(error))
        return SystemExit(1)

    def attend(self, service: Stoppable, reload: Callable[[], object]) -> None:
        """Start the log and handle signals, when the reactor runs; SIGHUP calls *reload*."""
        if self.log is not None:
            self.reactor.callWhenRunning(self.log.start, self.reactor)
        end_at_once_on_second_signal(service, self.reactor, clean_up=self.remove_pidfile)
        self.reactor.callWhenRunning(reload_on_hangup, reload, self.reactor)

    def _report(self, reason: str) -> None:
        """
        Log the *reason* of a failed start, and what may explain it.

        Both are also printed on the real stderr, because twistd redirects `sys.stderr`.
        """
        _log.critical("{reason}", reason=reason)
        lines = self._log_explanation(reason)
        if sys.__stderr__ is not None:
            sys.__stderr__.writelines(f"{line}\n" for line in (reason, *lines))
            sys.__stderr__.flush()

    def _log_explanation(self, reason: str) -> list[str]:
        """Log what may explain the *reason* of a failed start, and return these lines."""
        lines = list(map(printable, self.explanation(reason)))
        for line in lines:
            _log.warn("{line}", line=line)
        return lines

    def explanation(self, reason: str) -> Iterable[str]:
        """Return lines that may explain the *reason* of a failed start."""
        return ()


class ServerProcess(TwistdProcess):
    """The process of a server, or of the supervisor of its workers."""

    def __init__(self, twistd: Mapping[str, Any], settings: Settings, reactor: Any) -> None:
        super().__init__(twistd, settings.log_format, reactor)
        self.settings = settings

    def explanation(self, reason: str) -> Iterable[str]:
        """Return what an examination of the machine and the settings finds."""
        return explain(reason, self.settings)


class TwistdService(Service):
    """A service that reports a failed start in one line, without twistd's traceback."""

    process: TwistdProcess  #: set before twistd has the service

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Called with the application, before twistd begins its log: set its observer."""
        log = self.process.log
        if log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, log.observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """
        Listen on all addresses; if one cannot be bound, report that and exit.

        In a daemon, raise an error instead: the parent process prints it.
        """
        try:
            super().privilegedStartService()
        except StartError as error:
            raise self.process.not_bound(error) from None
