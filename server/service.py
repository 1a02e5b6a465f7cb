"""
The server as one Twisted service: bind, start, serve, drain, stop.

`InferenceService` is inert until Twisted starts it: no thread, no socket, no TensorFlow, so that
twistd may fork in between.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from model.repository.snapshot import ModelOnDisk, VersionOnDisk
from server.api.dialect import Dialect
from server.api.health import HealthAPI
from server.api.models_api import Permit
from server.api.native import NATIVE
from server.api.permit import PermitToken, permit_any, permit_none
from server.api.route_table import route_table
from server.clock import MonotonicTime
from server.discovery.announcer import Announcement, Announcer
from server.discovery.worker_record import ModelLoad
from server.golden import GOLDEN, prove, read_golden
from server.heartbeat import Heartbeat
from server.http.access import AccessLog
from server.http.draining import HANDSHAKE_SECONDS, accept_queue, refuse_new
from server.http.listening import Ports
from server.http.request_log import RequestLog, log_access
from server.http.router import Router
from server.http.serving import server_connections, site_for
from server.http.site import HTTPSite
from server.http.tls import ServerCertificate, certificate_of, secured
from server.inference import Inference
from server.lifecycle import Lifecycle, StartError, State
from server.loads import model_loads
from server.metrics.event_loop import EventLoopLag
from server.metrics.gpu import GPUs
from server.metrics.scrape import Scrapes
from server.metrics.server_metrics import ServerMetrics
from server.model_host import ModelHost, lane_pool, stop_serving
from server.model_loading import Loader, load_model
from server.models import Models
from server.process.announcing import announcing, check_announced
from server.process.systemd import notify, notify_watchdog
from server.repository.changes import RepositoryChanges
from server.repository.reconciler import Reconciler
from server.repository.repositories import FolderRepository, served_repository
from server.repository.watch import RepositoryWatch
from server.settings.option import printable
from server.settings.table import Settings
from server.withdrawal import drain_seconds, withdraw_in_time
from server.workers.worker_reports import WorkerGroup

_log = Logger()

#: While draining, idle connections stay open for this long: a request may be in transit.
IDLE_GRACE_SECONDS = 0.25


class InferenceService(Service):
    """
    One server, which reads request bodies at `POST /` as *dialect* defines.

    If the start fails after the sockets are bound, *fail* is called with the reason in one line; it
    must end the process.  *on_loaded* is called when the model is loaded and warm, before the
    server is ready.  *load* returns the model; it is called on a thread of its own.

    If the settings name a registry, the server is registered there while it is ready, unless it is
    one of several workers.  When it stops, it is withdrawn first.  Requests are served as before
    until that has ended or failed, up to `server.withdrawal.MAX_ANNOUNCER_STOP_SECONDS`.

    *write_access* writes the lines of the access log, if the settings ask for one.  *ports* listens
    on the addresses of the settings, by default by itself; *on_beat* is called each second with
    whether the server is alive, by default to report that to systemd.  *group* returns the
    readings of the other workers, if there are several.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,  # Any: Twisted has no type with timers, threads and sockets
        *,
        fail: Callable[[str], object],
        on_loaded: Callable[[], object] = lambda: None,
        load: Loader = load_model,
        dialect: Dialect = NATIVE,
        write_access: AccessLog = log_access,
        ports: Ports | None = None,
        on_beat: Callable[[bool], object] = notify_watchdog,
        group: WorkerGroup | None = None,
    ) -> None:
        self.settings = settings
        self.dialect = dialect
        self._group = group
        self.clock = MonotonicTime(reactor)
        self._reactor = reactor
        self.lifecycle = Lifecycle()
        self.pool = DecodePool(reactor.callFromThread, settings.decode_threads)
        self.lanes = lane_pool(settings, self.clock, reactor.callFromThread)
        self.models = Models(lambda: self.lifecycle.progress)
        self.reconciler = Reconciler(
            served_repository(settings, self.clock.seconds, load),
            self.models,
            clock=self.clock,
            new_thread=self.lanes.new_thread,
            make_host=self._host,
            prove=self._prove,
            on_progress=self._progress,
            poll_seconds=settings.poll_interval,
        )
        self.heartbeat = Heartbeat(
            self.clock,
            lambda: self.lanes.threads,
            decoding=self.pool.alive,
            hung=lambda: self.lanes.hung,
            on_beat=on_beat,
        )
        self._watch = self._repository_watch()
        if self._watch is not None:
            self.reconciler.on_read = self._watch.follow
        self.request_log = RequestLog(
            write_access if settings.access_log else None, settings.slow_request, self.clock
        )
        self.connections = server_connections(
            settings, self.clock, self.request_log.access_log, lambda: self.lifecycle.leaving
        )
        self.health = HealthAPI(self.heartbeat, self.lifecycle, lambda: bool(self.models.names))
        self.lag = EventLoopLag(self.clock)
        self.announcement = Announcement()
        self._announcer: Announcer | None = None
        self.scrapes = self._metrics()
        #: One for all addresses, because it makes one change at a time.
        self._changes = RepositoryChanges(self.reconciler, self.clock)
        token = settings.admin_token_file
        self.site = self._site(permit_none if token is None else PermitToken(token))
        self._ports = Ports(reactor) if ports is None else ports
        #: Called when a stop begins, before the server is withdrawn.
        self.on_stop: list[Callable[[], object]] = []
        self._certificate: ServerCertificate | None = None
        self._fail = fail
        self._on_loaded = on_loaded
        #: Whether the start has failed, so that the server stops.
        self.start_has_failed = False
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._aborted = False

    def _repository_watch(self) -> RepositoryWatch | None:
        repository = self.reconciler.repository
        if not isinstance(repository, FolderRepository):
            return None
        return RepositoryWatch(
            repository.places,
            self._reactor,
            renamed=repository.reader.renamed,
            notice=self.reconciler.notice,
        )

    def _host(self, model: ModelOnDisk, version: VersionOnDisk, beside: bool) -> ModelHost:
        repository = self.reconciler.repository
        name = f"{model.name}/{version.version}: " if repository.changes else ""
        return ModelHost(
            repository.settings_of(model, version),
            clock=self.clock,
            lanes=self.lanes,
            pool=self.pool,
            on_progress=lambda line: self._progress(f"{name}{line}"),
            load=repository.loader_of(model, version),
            beside=beside,
            must_run=beside and not (version.path / GOLDEN).is_file(),
        )

    async def _prove(self, inference: Inference, version: VersionOnDisk) -> None:
        if self.reconciler.repository.changes:
            golden = await self.pool.run(read_golden, version.path)
            await prove(inference, golden, self.dialect)

    def _metrics(self) -> Scrapes:
        metrics = ServerMetrics(
            self.models,
            self.reconciler,
            self.lanes,
            self.pool,
            self.connections,
            self.lag,
            self.announcement,
            ready=lambda: self.health.ready,
            worker=None if self._group is None else self._group.index,
        )
        new_thread = self.lanes.new_thread
        others = None if self._group is None else self._group.readings
        return Scrapes(metrics.read, GPUs(self.clock, new_thread), new_thread, others)

    def _site(self, permit: Permit) -> HTTPSite:
        """Return the site where *permit* decides which requests may change what is served."""
        router = Router(
            route_table(
                self.models,
                self._changes,
                self.pool,
                self.dialect,
                health=self.health,
                scrapes=self.scrapes,
                permit=permit,
                clock=self.clock,
                limits=self.connections.limits,
                group=self._group,
            )
        )
        return site_for(self.settings, router, self.connections)

    @property
    def ports(self) -> list[IListeningPort]:
        """The ports that accept connections."""
        return self._ports.open

    def privilegedStartService(self) -> None:
        """
        Listen on all addresses.

        If one cannot be bound or registered, closes the others and raises `StartError`.
        """
        check_announced(self.settings)
        sites = [(description, self.site) for description in self.settings.endpoints]
        if self.settings.admin_listen is not None:
            sites.append((self.settings.admin_listen, self._site(permit_any)))
        self._certificate = certificate_of(self.settings)
        self._ports.start(secured(sites, self._certificate, self._reactor))
        try:
            self._announcer = self._announcing()
        except StartError:
            self._ports.close()
            raise

    def _announcing(self) -> Announcer | None:
        if self._group is not None:
            return None  # the supervisor registers all workers together

        async def loads() -> dict[str, ModelLoad]:
            return model_loads(self.models)

        return announcing(
            self.settings,
            [port.getHost() for port in self.ports[: len(self.settings.endpoints)]],
            loads=loads,
            ready=lambda: self.health.ready,
            announcement=self.announcement,
            clock=self.clock,
            reactor=self._reactor,
        )

    def startService(self) -> None:
        """Begin to load the model; `GET /readyz` reports when it is ready."""
        super().startService()
        self._starting = ensureDeferred(self._start())
        self._starting.addErrback(self._start_failed)

    async def _start(self) -> None:
        self.pool.start()
        self.heartbeat.start()  # reports threads that are not alive
        self.lag.start()
        await self.reconciler.start()
        self._on_loaded()
        await self._ports.serve()
        self.lifecycle.move(State.READY)
        notify("READY=1\nSTATUS=ready")
        if self._announcer is not None:
            self._announcer.start()

    def _start_failed(self, failure: Failure) -> None:
        if self.lifecycle.leaving:
            return  # a stop during the start has ended its threads
        self.start_has_failed = True
        if failure.check(ModelError):
            line = str(failure.value)
        else:
            _log.failure("the start failed", failure)
            first_line, _, _ = failure.getErrorMessage().partition("\n")
            line = f"the start failed: {first_line}"
        self._fail(printable(line))

    def _progress(self, line: str) -> None:
        line = printable(line)  # it may hold a file name
        self.lifecycle.progress = line
        _log.info("{line}", line=line)
        notify(f"STATUS={line}")

    def stopService(self) -> Deferred[None]:
        """Answer every accepted request, then stop; the Deferred fires when all has stopped."""
        super().stopService()
        if self._stopping is None:
            for call in self.on_stop:
                call()
            self._stopping = ensureDeferred(self._stop())
            if self._aborted:
                self._stopping.cancel()
        return self._stopping

    async def _stop(self) -> None:
        notify("STOPPING=1\nSTATUS=draining")
        try:
            await self._withdrawn()
            self.lifecycle.move(State.DRAINING)
            if not self.start_has_failed:
                _log.info("draining")
            await self._drain()
        except CancelledError:
            if not self.lifecycle.leaving:
                self.lifecycle.move(State.DRAINING)
            _log.warn("stopped at once; requests were dropped")
        else:
            if not self.start_has_failed:
                _log.info("stopped; every accepted request was answered")
        self.heartbeat.stop()
        self.request_log.stop()
        self.lag.stop()
        self.lifecycle.move(State.STOPPED)

    async def _withdrawn(self) -> None:
        """Wait until the server is withdrawn, if it was ready; a failure is logged."""
        if self.lifecycle.state is not State.READY or self._announcer is None:
            return
        stop = self._announcer.stop
        await withdraw_in_time(stop, self.clock, is_aborted=lambda: self._aborted)

    async def _drain(self) -> None:
        if not self.start_has_failed and not self._ports.has_successor:
            await self._pause(drain_seconds(self.settings))
            # Without the port for administrators, whose socket the workers share.
            if refuse_new(zip(self.settings.endpoints, self.ports, strict=False)):
                await self._pause(HANDSHAKE_SECONDS)
        for port in self.ports:
            if not self._ports.has_successor:
                accept_queue(port, self.connections)
            await maybeDeferred(port.stopListening)
        self._ports.closed()
        if not self.start_has_failed:
            await self._pause(IDLE_GRACE_SECONDS)
        self.connections.close_idle()
        await self.connections.when_quiet()
        if self._group is not None:
            await self._group.leave(self.scrapes.json)
        if self._watch is not None:
            self._watch.stop()
        await self.reconciler.stop()
        self.heartbeat.stop()  # from here on, threads end
        await stop_serving(self.reconciler.hosts, self.lanes, self.pool)
        await self.scrapes.stop()

    def reload(self) -> None:
        """
        Read the certificate and the repository again now, and load what has failed again.

        Called after SIGHUP.
        """
        if self.lifecycle.leaving:
            return
        if self._certificate is not None:
            self._certificate.reload()
        if not self.reconciler.repository.changes:
            _log.info("there is nothing to read again: the server has no repository of models")
            return
        _log.info("the repository of models is read again")
        reloading = ensureDeferred(self._changes.reload())
        reloading.addErrback(lambda it: _log.failure("the repository was not read", it))

    def abort(self) -> None:
        """Drop the requests that are not answered yet, and stop at once."""
        self._aborted = True
        self.connections.abort_all()
        self.lanes.abort()
        if self._stopping is not None:
            self._stopping.cancel()

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self.clock, seconds, lambda: None)
