"""
The registry as a service of twistd.

Imports Klein, which needs the reactor that twistd has chosen.
"""

from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService

from server.process.descriptors import log_refused_connections
from server.process.twistd_service import TwistdProcess, TwistdService
from server.registry.registry_service import RegistryService
from server.registry.settings import RegistrySettings


class _Registry(TwistdService, RegistryService):
    """The service."""


# Any: as in `RegistryService`, and Twisted's own options are untyped.
def make_registry(settings: RegistrySettings, twistd: Mapping[str, Any], reactor: Any) -> IService:
    """Return the registry, not started; *twistd* are the options of twistd itself."""
    process = TwistdProcess(twistd, settings.log_format, reactor)
    service = _Registry(settings, reactor)
    service.process = process
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    process.attend(service, service.reload)
    return service
