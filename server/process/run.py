"""
Run one server as a whole process: reactor, signals, log and exit code.

With several workers this process is their supervisor, or one of them.
"""

from collections.abc import Sequence
from functools import partial
from math import inf

from twisted.logger import Logger

from server.api.dialect import Dialect
from server.api.native import NATIVE
from server.clock import MonotonicTime
from server.lifecycle import StartError
from server.model_loading import Loader, load_model
from server.process.collector import freeze_startup_objects
from server.process.descriptors import log_refused_connections
from server.process.exit_codes import ANSWERED, FAILED
from server.process.logs import ServerLog, begin_logging
from server.process.start_failure import StartFailure
from server.process.supervise import supervise
from server.process.systemd import notify_watchdog
from server.settings.option import printable
from server.settings.table import Settings
from server.workers.roles import WorkerRole, worker_role
from server.workers.worker import WorkerPorts, bind_to_supervisor

_log = Logger()


def run(
    settings: Settings,
    *,
    notes: Sequence[str] = (),
    load: Loader = load_model,
    dialect: Dialect = NATIVE,
) -> int:
    """
    Serve the model that *load* returns, until a signal; return the exit code.

    *dialect* defines the bodies at `POST /`.  The *notes* on the settings are logged; after the
    reason of a failed start, what may explain it is logged too.  With several workers, each runs
    the command of this process.  Call once, on the main thread.  A second signal ends the process:
    then this function does not return.
    """
    role = worker_role()
    log = begin_logging(settings.log_format, worker=None if role is None else role.index)
    if role is None:
        for note in notes:
            _log.info("{note}", note=printable(note))
        if settings.workers > 1:
            return supervise(settings, log)
    return _serve(settings, role, log, load, dialect)


def _serve(
    settings: Settings, role: WorkerRole | None, log: ServerLog, load: Loader, dialect: Dialect
) -> int:
    """Serve in this process; *role* is its part, if it is one of several workers."""
    if role is not None:
        bind_to_supervisor(role)
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - importing it installs one

    from server.loads import model_loads  # noqa: PLC0415 - a supervisor does without numpy
    from server.process.signals import (  # noqa: PLC0415 - the same
        end_at_once_on_second_signal,
        reload_on_hangup,
        stop_on_first_signal,
    )
    from server.service import InferenceService  # noqa: PLC0415 - Klein needs the reactor
    from server.workers.worker_reports import WorkerGroup, worker_handlers  # noqa: PLC0415 - as loads

    failure = StartFailure(settings, reactor.stop, worker=role is not None)
    worker = None if role is None else WorkerPorts(role, reactor, MonotonicTime(reactor))
    group = None if worker is None else WorkerGroup(worker.role.index, worker.channel)
    service = InferenceService(
        settings,
        reactor,
        fail=failure.fail,
        on_loaded=freeze_startup_objects,
        load=load,
        dialect=dialect,
        write_access=log.write_access,
        ports=worker,
        on_beat=notify_watchdog if worker is None else worker.beat,
        group=group,
    )
    if worker is not None:
        loads = partial(model_loads, service.models, max_wait=inf)  # of one that hangs, in a mean
        worker.handlers |= worker_handlers(service.scrapes.json, service.models, loads)
        service.on_stop.append(worker.give_up)
    try:
        service.privilegedStartService()
    except StartError as error:
        failure.report(str(error))
        return FAILED
    log.start(reactor)
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    if worker is None:
        end_at_once_on_second_signal(service, reactor)
    else:
        abort = stop_on_first_signal(service, reactor)
        worker.handlers["abort"] = lambda _: abort()
    reload_on_hangup(service.reload, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.run()
    return FAILED if failure.has_failed else ANSWERED
