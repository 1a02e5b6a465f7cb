"""
Run a registry in this process: reactor, signals, log and exit code.
"""

from twisted.logger import Logger

from server.lifecycle import StartError
from server.process.descriptors import log_refused_connections
from server.process.logs import begin_logging
from server.process.signals import end_at_once_on_second_signal, reload_on_hangup
from server.registry.settings import RegistrySettings

#: Exit codes: the registry was stopped by a signal; it could not start.  After a second signal the
#: process ends with that of `end_at_once_on_second_signal`.
STOPPED, FAILED = 0, 1

_log = Logger()


def run_registry(settings: RegistrySettings) -> int:
    """Run a registry until a signal; return the exit code.  Call once, on the main thread."""
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - importing it installs one

    from server.registry.registry_service import (  # noqa: PLC0415 - Klein needs the reactor
        RegistryService,
    )

    log = begin_logging(settings.log_format)
    service = RegistryService(settings, reactor)
    try:
        service.privilegedStartService()
    except StartError as error:
        _log.critical("{reason}", reason=str(error))
        return FAILED
    log.start(reactor)
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    end_at_once_on_second_signal(service, reactor)
    reload_on_hangup(service.reload, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.startService()
    reactor.run()
    return STOPPED
