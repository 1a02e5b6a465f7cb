"""
The supervisor of several workers, as a service of twistd; each worker runs ``tensorferry serve``.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from twisted.application.service import IService
from twisted.logger import Logger

from server.clock import MonotonicTime
from server.process.announcing import announcing
from server.process.signals import call_on_signal
from server.process.supervise import spawner
from server.process.twistd_service import ServerProcess, TwistdService
from server.workers.process import WorkerCommand
from server.workers.supervisor import Supervisor

_log = Logger()


class _Supervisor(TwistdService, Supervisor):
    """The service."""


def make_supervisor(process: ServerProcess, arguments: Sequence[str]) -> IService:
    """Return the supervisor, not started; *arguments* are the options of the server."""
    log = process.log

    def write(line: bytes) -> None:
        """Write a line of a worker, which has its date already."""
        if log is None:
            _log.info("{line}", line=line.decode(errors="backslashreplace"))
        else:
            log.write_line(line + b"\n")

    command = WorkerCommand(
        (sys.executable, "-P", "-m", "tensorferry", "serve", *arguments),
        os.getcwd(),  # noqa: PTH109 - a daemon changes its folder later
        os.environ,
        write,
    )
    clock = MonotonicTime(process.reactor)
    start = spawner(process.settings, command, process.reactor, clock)
    service = _Supervisor(
        process.settings,
        clock,
        start,
        fail=process.fail,
        announcing=partial(announcing, process.settings, clock=clock, reactor=process.reactor),
    )
    service.process = process
    process.attend(service, service.reload)
    process.reactor.callWhenRunning(call_on_signal, signal.SIGUSR2, service.roll, process.reactor)
    return service
