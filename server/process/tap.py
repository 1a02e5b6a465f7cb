"""
The parts of ``twistd tensorferry``: its options, and the service made from them.

Imported before twistd has chosen its reactor, so `makeService` imports Klein and the service.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import IService, IServiceCollection
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import UsageError

from server.doctor.examination import explain
from server.lifecycle import StartError
from server.process.collector import freeze_startup_objects
from server.process.descriptors import log_refused_connections
from server.settings.option import printable
from server.settings.report import describe
from server.settings.table import Settings
from server.settings.twistd import TwistdOptions

_log = Logger()


class Options(TwistdOptions):
    """The options of the server; ``--check-config`` prints the settings and ends the process."""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read *options*; on an error, print one line on stderr, without Twisted's help page."""
        try:
            super().parseOptions(options)
            if self.check_config:
                sys.stdout.write(describe(self.resolved))
                raise SystemExit(0)
            twistd: Any = self.parent or {}  # Any: Twisted's own options are untyped
            check_writable(twistd)
            _check_format(twistd, self.resolved.settings)
        except UsageError as error:
            sys.stderr.write(f"twistd tensorferry: {error}\n")
            raise SystemExit(1) from None


def check_writable(twistd: Mapping[str, Any]) -> None:
    """
    Raise `UsageError` if twistd cannot write its files.

    Otherwise twistd would print a traceback.
    """
    written = {"pidfile": twistd.get("pidfile"), "logfile": twistd.get("logfile")}
    elsewhere = twistd.get("syslog") or twistd.get("logger")
    if not twistd.get("nodaemon", True) and not elsewhere:
        written["logfile"] = written["logfile"] or "twistd.log"
    for option, name in written.items():
        path = Path(twistd.get("rundir") or "", name or "")
        if name and name != "-" and not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(
                f"cannot write {path.absolute()}: set another path with twistd --{option}=PATH"
            )


def _check_format(twistd: Mapping[str, Any], settings: Settings) -> None:
    """Raise `UsageError` if the log cannot have the format of *settings*."""
    option = next((name for name in ("logger", "syslog") if twistd.get(name)), None)
    if option is not None and settings.log_format != "plain":
        raise UsageError(
            f"--log-format {settings.log_format} has no effect with twistd --{option}, "
            "which writes text: use --logfile"
        )


def _report(reason: str, settings: Settings) -> None:
    """
    Log the *reason* of a failed start, and what may explain it.

    Both are also printed on the real stderr, because twistd redirects `sys.stderr`.
    """
    _log.critical("{reason}", reason=reason)
    lines = _log_explanation(reason, settings)
    if sys.__stderr__ is not None:
        sys.__stderr__.writelines(f"{line}\n" for line in (reason, *lines))
        sys.__stderr__.flush()


def _log_explanation(reason: str, settings: Settings) -> list[str]:
    """Log what may explain the *reason* of a failed start, and return these lines."""
    lines = list(map(printable, explain(reason, settings)))
    for line in lines:
        _log.warn("{line}", line=line)
    return lines


def makeService(options: Options) -> IService:
    """Return the server, not started, because twistd may fork before it starts the service."""
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - twistd has chosen it

    from server.http.request_log import log_access  # noqa: PLC0415 - imports numpy
    from server.process.signals import end_at_once_on_second_signal  # noqa: PLC0415 - the same
    from server.process.twistd_log import twistd_log  # noqa: PLC0415 - imports numpy
    from server.service import InferenceService  # noqa: PLC0415 - Klein needs the reactor

    twistd: Any = options.parent or {}  # Any: Twisted's own options are untyped
    log = twistd_log(twistd, options.resolved.settings.log_format)

    def remove_pidfile() -> None:
        with suppress(OSError):
            os.unlink(twistd.get("pidfile") or "")  # noqa: PTH108 - as twistd itself names it

    def fail(reason: str) -> None:
        """Report the *reason* and stop the reactor; the process then ends with exit code 1."""
        _report(reason, options.resolved.settings)
        remove_pidfile()
        # twistd alone would end with 0.
        reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        reactor.stop()

    class TwistdService(InferenceService):
        """A server that reports a failed start in one line, without twistd's traceback."""

        def setServiceParent(self, parent: IServiceCollection) -> None:
            """Called with the application, before twistd begins its log: set its observer."""
            if log is not None and isinstance(parent, Componentized):
                parent.setComponent(ILogObserver, log.observer)  # type: ignore[no-untyped-call]  # Twisted's
            super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted's

        def privilegedStartService(self) -> None:
            """
            Listen on all addresses; if one cannot be bound, report that and exit.

            In a daemon, raise an error instead: the parent process prints it.
            """
            try:
                super().privilegedStartService()
            except StartError as error:
                if not twistd.get("nodaemon", False):
                    _log_explanation(str(error), self.settings)
                    # twistd passes 100 bytes to the parent, which begin with the error's class:
                    # that of Python has a short name.
                    raise OSError(str(error)) from None
                remove_pidfile()
                _report(str(error), self.settings)
                raise SystemExit(1) from None

    for note in options.resolved.notes:
        _log.info("{note}", note=printable(note))
    service = TwistdService(
        options.resolved.settings,
        reactor,
        fail=fail,
        on_loaded=freeze_startup_objects,
        write_access=log_access if log is None else log.write_access,
    )
    if log is not None:
        reactor.callWhenRunning(log.start, reactor)
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    end_at_once_on_second_signal(service, reactor, clean_up=remove_pidfile)
    return service
