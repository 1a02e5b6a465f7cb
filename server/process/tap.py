"""
The parts of ``twistd tensorferry``: its options, and the service made from them.

Imported before twistd has chosen its reactor, so `makeService` imports Klein and the service.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.usage import UsageError

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


def makeService(options: Options) -> IService:
    """
    Return the server, not started, because twistd may fork before it starts the service.

    With several workers it is their supervisor.
    """
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - twistd has chosen it

    from server.process.twistd_service import TwistdProcess  # noqa: PLC0415 - imports numpy

    resolved = options.resolved
    for note in resolved.notes:
        _log.info("{note}", note=printable(note))
    process = TwistdProcess(options.parent or {}, resolved.settings, reactor)
    if resolved.settings.workers > 1:
        from server.process.twistd_supervisor import make_supervisor  # noqa: PLC0415 - the same

        return make_supervisor(process, options.arguments)
    from server.process.twistd_server import make_server  # noqa: PLC0415 - Klein needs the reactor

    return make_server(process)
