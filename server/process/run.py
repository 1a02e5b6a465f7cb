"""
Run a server in this process: reactor, signals, log and exit code.
"""

from collections.abc import Sequence

from twisted.logger import Logger

from server.api.dialect import Dialect
from server.api.native import NATIVE
from server.doctor.examination import explain
from server.lifecycle import StartError
from server.model_loading import Loader, load_model
from server.process.collector import freeze_startup_objects
from server.process.descriptors import log_refused_connections
from server.process.logs import begin_logging
from server.settings.option import printable
from server.settings.table import Settings

#: Exit codes: the server answered every accepted request; the server could not start.
ANSWERED, FAILED = 0, 1

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
    reason of a failed start, what may explain it is logged too.  Call once, on the main thread.  A
    second signal ends the process: then this function does not return.
    """
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - importing it installs one

    from server.process.signals import end_at_once_on_second_signal  # noqa: PLC0415 - the same
    from server.service import InferenceService  # noqa: PLC0415 - Klein needs the reactor

    log = begin_logging(settings.log_format)
    for note in notes:
        _log.info("{note}", note=printable(note))
    failed: list[str] = []

    def report(reason: str) -> None:
        _log.critical("{reason}", reason=reason)
        for line in explain(reason, settings):
            _log.warn("{line}", line=printable(line))

    def fail(reason: str) -> None:
        failed.append(reason)
        report(reason)
        reactor.stop()

    service = InferenceService(
        settings,
        reactor,
        fail=fail,
        on_loaded=freeze_startup_objects,
        load=load,
        dialect=dialect,
        write_access=log.write_access,
    )
    try:
        service.privilegedStartService()
    except StartError as error:
        report(str(error))
        return FAILED
    log.start(reactor)
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    end_at_once_on_second_signal(service, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.run()
    return FAILED if failed else ANSWERED
