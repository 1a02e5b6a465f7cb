"""
The server in one process, as a service of twistd.

Imports Klein, which needs the reactor that twistd has chosen.
"""

from twisted.application.service import IService

from server.http.request_log import log_access
from server.process.collector import freeze_startup_objects
from server.process.descriptors import log_refused_connections
from server.process.twistd_service import TwistdProcess, TwistdService
from server.service import InferenceService


class _Server(TwistdService, InferenceService):
    """The service."""


def make_server(process: TwistdProcess) -> IService:
    """Return the server, not started."""
    service = _Server(
        process.settings,
        process.reactor,
        fail=process.fail,
        on_loaded=freeze_startup_objects,
        write_access=log_access if process.log is None else process.log.write_access,
    )
    service.process = process
    process.reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    process.attend(service, service.reload)
    return service
