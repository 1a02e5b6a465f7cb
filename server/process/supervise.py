"""
Run the supervisor of several workers as a whole process: reactor, signals, log and exit code.

Imports neither TensorFlow nor Klein, and no model is loaded here.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from server.clock import MonotonicTime
from server.lifecycle import StartError
from server.process.announcing import announcing
from server.process.exit_codes import ANSWERED, FAILED
from server.process.logs import ServerLog
from server.process.signals import (
    call_on_signal,
    end_at_once_on_second_signal,
    reload_on_hangup,
)
from server.process.start_failure import StartFailure
from server.settings.table import Settings
from server.workers.channel import Handler
from server.workers.gpus import gpu_variables, visible_gpus
from server.workers.process import WorkerCommand, WorkerProcess, start_process
from server.workers.slot import Spawn
from server.workers.sockets import ListeningSockets
from server.workers.supervisor import Supervisor


def supervise(settings: Settings, log: ServerLog) -> int:
    """
    Keep the workers of *settings* running until a signal; return the exit code.

    Call once, on the main thread, after *log* has begun.
    """
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - importing it installs one

    failure = StartFailure(settings, reactor.stop)
    clock = MonotonicTime(reactor)
    command = WorkerCommand((sys.executable, *sys.orig_argv[1:]), os.getcwd(), os.environ)  # noqa: PTH109
    supervisor = Supervisor(
        settings,
        clock,
        spawner(settings, command, reactor, clock),
        fail=failure.fail,
        announcing=partial(announcing, settings, clock=clock, reactor=reactor),
    )
    try:
        supervisor.privilegedStartService()
    except StartError as error:
        failure.report(str(error))
        return FAILED
    log.start(reactor)
    end_at_once_on_second_signal(supervisor, reactor)
    call_on_signal(signal.SIGUSR2, supervisor.roll, reactor)
    reload_on_hangup(supervisor.reload, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopService)
    reactor.callWhenRunning(supervisor.startService)
    reactor.run()
    return ANSWERED if supervisor.ended_well and not failure.has_failed else FAILED


def spawner(
    settings: Settings, command: WorkerCommand, reactor: Any, clock: MonotonicTime
) -> Callable[[ListeningSockets], Spawn]:
    """Return what makes, from the sockets, the function that starts a worker with *command*."""
    gpus = [] if settings.device == "cpu" else visible_gpus(command.environ)

    def with_sockets(sockets: ListeningSockets) -> Spawn:
        def spawn(
            index: int,
            *,
            accepts_at_once: bool,
            handlers: Mapping[str, Handler],
            on_ended: Callable[[int], object],
        ) -> WorkerProcess:
            return start_process(
                command,
                index,
                settings.workers,
                sockets=sockets.sockets_of(index),
                accepts_at_once=accepts_at_once,
                variables=gpu_variables(index, gpus),
                handlers=handlers,
                on_ended=on_ended,
                reactor=reactor,
                clock=clock,
            )

        return spawn

    return with_sockets
