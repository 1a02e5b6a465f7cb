"""
The registry as one Twisted service: HTTP, seaport, DNS, and the sources that it follows.

Inert until Twisted starts it, so that twistd may fork in between.  Everything here runs on the
reactor thread.
"""

from collections.abc import Awaitable, Callable
from random import random
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    maybeDeferred,
)
from twisted.logger import Logger

from server.clock import MonotonicTime
from server.discovery.cancelling import ended_when_cancelled
from server.discovery.engine import Watch
from server.discovery.engine_url import EngineURL, parse_engine_url
from server.discovery.engines.available import open_watch
from server.discovery.members import Members
from server.discovery.worker_record import MAX_RECORD_BYTES
from server.http.access import client_name
from server.http.connections import Connections
from server.http.limits import BodyLimits
from server.http.listening import address_of, listen
from server.http.router import Router
from server.http.serving import connection_limits, site_for
from server.http.site import HTTPSite
from server.lifecycle import Lifecycle, StartError, State
from server.process.systemd import notify
from server.registry.directory import Directory
from server.registry.dns_service import dns_service
from server.registry.leases import Leases
from server.registry.permit import RegistrationPermit
from server.registry.registry_api import RegistryAPI
from server.registry.seaport.connections import SeaportFactory
from server.registry.settings import RegistrySettings
from server.registry.worker_log import WorkerLog
from server.settings.http_settings import HTTPSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort

_log = Logger()

#: The most bytes of the records that are being received.
MAX_HELD_BYTES = 256 * MAX_RECORD_BYTES

#: How long a stop waits for requests that are being received or answered, and then for the sources,
#: in seconds.
MAX_STOP_SECONDS = 2.0


class RegistryService(Service):
    """One registry."""

    def __init__(
        self,
        settings: RegistrySettings,
        reactor: Any,  # Any: Twisted has no type with timers and sockets
        *,
        watch: Callable[[EngineURL, Any], Watch] = open_watch,
        random: Callable[[], float] = random,
    ) -> None:
        """*watch* returns the watch of a source; *random* decides which workers are compared."""
        self.settings = settings
        self.clock = MonotonicTime(reactor)
        self._reactor = reactor
        self.lifecycle = Lifecycle()
        self.directory = Directory(self.clock.seconds, random)
        self.log = WorkerLog(self.directory.sources, self.clock)
        self.leases = Leases(
            Members("leases", self.clock.seconds), self.clock, on_gone=self.log.gone
        )
        self.directory.add(self.leases.members)
        urls = map(parse_engine_url, dict.fromkeys(settings.engine))
        self.watches = [watch(url, reactor) for url in urls]
        for each in self.watches:
            self.directory.add(each.members)
        self.permit = RegistrationPermit(settings.token_file, settings.trusted)
        self.seaport = SeaportFactory(
            Members("seaport", self.clock.seconds),
            self.clock,
            lambda address: self.permit.needs_no_token(client_name(address)),
            self.directory.workers,
        )
        self.dns = self._dns()
        self.connections = Connections(
            limits=BodyLimits(max_body=MAX_RECORD_BYTES, max_held=MAX_HELD_BYTES),
            connection_limits=connection_limits(HTTPSettings()),
            clock=self.clock,
            draining=lambda: self.lifecycle.leaving,
        )
        self.site = self._site()
        self.ports: list[IListeningPort] = []
        #: Called when a stop begins.
        self.on_stop: list[Callable[[], object]] = []
        self.start_has_failed = False  #: a start fails before the reactor runs, or not at all
        self._stopping: Deferred[None] | None = None
        self._is_aborted = False

    def _dns(self) -> IService | None:
        """Return the name server, not started; None if there is none."""
        where = self.settings.dns_listen
        if where is None:
            return None
        return dns_service(self.directory, self.settings.zone, self._reactor, where)

    def _site(self) -> HTTPSite:
        api = RegistryAPI(
            self.directory, self.leases, self.permit, self.lifecycle, seconds=self.clock.seconds
        )
        router = Router(api.routes())
        return site_for(HTTPSettings(), router, self.connections)

    def privilegedStartService(self) -> None:
        """
        Listen on all addresses, then log them.

        If one cannot be bound, closes the others and raises `StartError`, which names the option.
        """
        seaport = self.settings.seaport_listen
        option = "--listen"
        try:
            for description in self.settings.listen:
                self.ports.append(listen(self._reactor, description, self.site))
            if seaport is not None:
                option = "--seaport-listen"
                self.ports.append(listen(self._reactor, seaport, self.seaport))
            if self.dns is not None:
                option = "--dns-listen"
                self.dns.privilegedStartService()  # logs its own address, after the last port
        except StartError as error:
            for port in self.ports:
                port.stopListening()
            raise StartError(f"{error} ({option})") from error
        addresses = [address_of(it) for it in self.ports]
        for address in addresses[: len(self.settings.listen)]:
            _log.info("listening on {address}", address=address)
        if seaport is not None:
            self.directory.add(self.seaport.members)
            address = addresses[-1].removeprefix("http://")
            _log.info("listening for seaport on {address}", address=address)

    def startService(self) -> None:
        """Begin to follow the sources; the registry is ready at once."""
        super().startService()
        if self.dns is not None:
            self.dns.startService()
        for watch in self.watches:
            watch.start()
        self.log.start()
        self.lifecycle.move(State.READY)
        notify("READY=1\nSTATUS=ready")

    def reload(self) -> None:
        """Called after SIGHUP: log that there is nothing to read again."""
        _log.info("there is nothing to read again")

    def stopService(self) -> Deferred[None]:
        """Answer the requests that are received, then stop; fires when all has stopped."""
        super().stopService()
        if self._stopping is None:
            for call in self.on_stop:
                call()
            self._stopping = ensureDeferred(self._stop())
        return self._stopping

    def abort(self) -> None:
        """Drop the requests that are being received, wait for no source, and end the stop."""
        self._is_aborted = True
        self.connections.abort_all()
        if self._stopping is not None:
            self._stopping.cancel()

    async def _stop(self) -> None:
        notify("STOPPING=1")
        self.lifecycle.move(State.DRAINING)
        try:
            await self._drain()
        except CancelledError:
            end = "stopped at once; requests were dropped"
        else:
            end = "stopped"
        self.leases.stop()
        self.log.stop()
        self.lifecycle.move(State.STOPPED)
        _log.info("{end}", end=end)

    async def _drain(self) -> None:
        """Close the ports, answer the requests that are being received, and stop the sources."""
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        if self.dns is not None:
            await maybeDeferred(self.dns.stopService)
        self.connections.close_idle()
        limit = self.clock.callLater(MAX_STOP_SECONDS, self.connections.abort_all)
        try:
            await self.connections.when_quiet()
        finally:
            if limit.active():
                limit.cancel()
        stopped = [ensureDeferred(self._stopped(it)) for it in self.watches]
        await ended_when_cancelled(gatherResults(stopped, consumeErrors=True))

    async def _stopped(self, watch: Watch) -> None:
        """Stop *watch*; an error is logged, so that the rest is stopped, too."""
        try:
            stopped = ensureDeferred(_awaited(watch.stop()))
            await stopped.addTimeout(MAX_STOP_SECONDS, self.clock)
        except Exception:
            if self._is_aborted:
                raise
            _log.failure("a source was not stopped")


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable
