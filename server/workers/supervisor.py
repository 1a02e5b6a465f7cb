"""
The supervisor of several workers, as one Twisted service: bind, start, restart, replace, stop.

It serves no request itself, and imports neither TensorFlow nor Klein.  Like `InferenceService` it
is inert until Twisted starts it.  Runs on the reactor thread.
"""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from server.discovery.announcer import Announcement, Announcer
from server.http.listen_addresses import scheme_of
from server.http.listening import address_in_words
from server.http.tls import certificate_of
from server.process.announcing import Announcing, check_announced
from server.process.exit_codes import FAILED
from server.process.systemd import notify, notify_watchdog
from server.settings.table import Settings
from server.withdrawal import withdraw_in_time
from server.workers.channel import Channel, Handler
from server.workers.reports import GroupReports, Worker
from server.workers.slot import Run, Slot, Spawn, Stage
from server.workers.socket_plan import plan_sockets
from server.workers.sockets import ListeningSockets

#: A worker that is ready and has not reported for longer counts as not alive, for systemd.
MAX_BEAT_SECONDS = 5

_log = Logger()


class Supervisor(Service):
    """
    Keeps `Settings.workers` worker processes running on the same addresses.

    Worker 0 starts first; the others start when it is ready, because it stores what a start
    computes.  If it ends before it was ready, *fail* is called with the reason in one line, or with
    an empty one if the worker has logged it; it must end the process.

    *spawn* returns what starts a process that accepts from the given sockets.  *announcing* makes
    the announcer that the settings ask for: it registers all workers as one server while one of
    them is ready, and is stopped before they are.  *handlers* answer more calls of the workers.
    """

    def __init__(
        self,
        settings: Settings,
        clock: IReactorTime,
        spawn: Callable[[ListeningSockets], Spawn],
        *,
        fail: Callable[[str], object],
        announcing: Announcing,
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        self.settings = settings
        #: Called when a stop begins, before the server is withdrawn.
        self.on_stop: list[Callable[[], object]] = []
        #: Whether the start has failed, so that the supervisor stops.
        self.start_has_failed = False
        self._clock = clock
        self._spawn = spawn
        self._fail = fail
        self.announcement = Announcement()
        #: Of all workers together.
        self.reports = GroupReports(
            self.workers,
            clock,
            configured=settings.workers,
            restarts=lambda: sum(slot.restarts for slot in self._slots),
            announcement=self.announcement,
        )
        self._handlers = {**self.reports.handlers(), **(handlers or {})}
        self._announcing = announcing
        self._announcer: Announcer | None = None
        self._sockets: ListeningSockets | None = None
        self._slots: list[Slot] = []
        self._seconds = LoopingCall(self._each_second)
        self._seconds.clock = clock
        self._was_ready = False
        self._rolling = False
        self._aborted = False
        self._withdrawing: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None

    @property
    def ended_well(self) -> bool:
        """Whether no worker has dropped a request at the stop."""
        return all(slot.ended_well for slot in self._slots)

    def ports(self) -> list[IAddress]:
        """
        Return the addresses on which the workers listen, without that for administrators.

        There are none before `privilegedStartService`.
        """
        addresses = [] if self._sockets is None else self._sockets.addresses()
        return addresses[: len(self.settings.endpoints)]

    def channels(self) -> list[Channel]:
        """Return the connections to the workers that are ready, in the order of their numbers."""
        return [it.process.channel for it in self._ready_runs() if it.process is not None]

    def _ready_runs(self) -> list[Run]:
        """Return the processes that accept connections, in the order of their workers."""
        runs = [slot.serving for slot in self._slots]
        return [it for it in runs if it is not None and not it.is_closed]

    def workers(self) -> list[Worker]:
        """Return all processes that have not ended."""
        return [
            Worker(slot.index, run.process.pid, run.state, run.process.channel)
            for slot in self._slots
            for run in slot.runs
            if run.process is not None
        ]

    def privilegedStartService(self) -> None:
        """Bind all addresses; raises `StartError`, also if the certificate cannot be used."""
        check_announced(self.settings)
        certificate_of(self.settings)
        plans = plan_sockets(self.settings.endpoints, self.settings.admin_listen)
        sockets = self._sockets = ListeningSockets(plans, self.settings.workers)
        has_certificate = self.settings.tls_cert is not None
        for plan, address in zip(plans, sockets.addresses(), strict=True):
            scheme = scheme_of(plan.description, has_certificate=has_certificate)
            _log.info("listening on {address}", address=address_in_words(address, scheme))
        self._slots = [
            Slot(
                index,
                spawn=self._spawn(sockets),
                sockets=sockets,
                clock=self._clock,
                handlers=self._handlers,
                on_ready=self._ready,
                must_restart=partial(self._must_restart, index),
            )
            for index in range(self.settings.workers)
        ]
        self._announcer = self._announcing(
            self.ports(),
            loads=self.reports.loads,
            ready=self._is_ready,
            announcement=self.announcement,
        )

    def _is_ready(self) -> bool:
        """Return whether a worker takes requests and has reported that it is alive."""
        return any(it.is_well for it in self._ready_runs())

    def startService(self) -> None:
        """Start worker 0."""
        super().startService()
        self._seconds.start(1, now=False)
        self.reports.start()
        notify("STATUS=worker 0 starts")
        self._slots[0].start(accepts_at_once=True)

    def _ready(self) -> None:
        if not self._was_ready:
            self._was_ready = True
            for slot in self._slots[1:]:
                slot.start()
            notify("READY=1")
            if self._announcer is not None:
                self._announcer.start()
        ready, workers = len(self.channels()), len(self._slots)
        notify(f"STATUS={ready} of {workers} workers are ready")
        _log.info("{ready} of {workers} workers are ready", ready=ready, workers=workers)

    def _must_restart(self, index: int, reason: str, code: int | None) -> bool:
        if self._was_ready:
            return True
        self.start_has_failed = True
        self._fail("" if code == FAILED else f"worker {index} {reason} before it was ready")
        return False

    def _each_second(self) -> None:
        for slot in self._slots:
            slot.count_second()
        runs = [it for slot in self._slots for it in slot.runs if it.stage is not Stage.LEAVING]
        notify_watchdog(bool(runs) and all(map(_is_alive, runs)))

    def reload(self) -> None:
        """Send SIGHUP to each worker, which reads the repository of models again."""
        for slot in self._slots:
            if slot.serving is not None and slot.serving.process is not None:
                slot.serving.process.signal(signal.SIGHUP)

    def roll(self) -> None:
        """Replace all workers, one by one; called after SIGUSR2."""
        if self._rolling or self._stopping is not None or not self._was_ready:
            _log.warn("the workers are not replaced: they are starting, stopping or being replaced")
            return
        _log.info("the workers are replaced, one by one")
        self._rolling = True
        rolling = ensureDeferred(self._roll())
        rolling.addErrback(lambda failure: _log.failure("the workers were not replaced", failure))

    async def _roll(self) -> None:
        try:
            for slot in self._slots:
                if self._stopping is not None:
                    return
                if slot.serving is None:
                    _log.info("worker {index} is being started already", index=slot.index)
                elif not await slot.replace():
                    if self._stopping is None:
                        _log.error("the workers from {index} on are not replaced", index=slot.index)
                    return
            _log.info("all workers are replaced")
        finally:
            self._rolling = False

    def stopService(self) -> Deferred[None]:
        """Stop the workers; the Deferred fires when all have ended."""
        super().stopService()
        if self._stopping is None:
            for call in self.on_stop:
                call()
            self._stopping = ensureDeferred(self._stop())
        return self._stopping

    async def _stop(self) -> None:
        notify("STOPPING=1\nSTATUS=draining")
        if self._was_ready and self._announcer is not None:
            stop = self._announcer.stop
            self._withdrawing = ensureDeferred(
                withdraw_in_time(stop, self._clock, is_aborted=lambda: self._aborted)
            )
            if self._aborted:
                self._withdrawing.cancel()
            with suppress(CancelledError):
                await self._withdrawing
        if self._sockets is not None:
            # The last worker that closes its own descriptor closes the socket.
            self._sockets.close()
        self.reports.stop()
        for ending in [ensureDeferred(slot.stop()) for slot in self._slots]:
            await ending
        if self._sockets is not None:
            self._sockets.remove_paths()
        if self._seconds.running:
            self._seconds.stop()
        if not self.start_has_failed:
            _log.info("all workers have ended")

    def abort(self) -> None:
        """Abort all workers: they drop the requests that are not answered yet."""
        self._aborted = True
        _log.warn("stopped at once; requests were dropped")
        if self._withdrawing is not None:
            self._withdrawing.cancel()
        for slot in self._slots:
            slot.abort()


def _is_alive(run: Run) -> bool:
    """Return whether a process is alive, for systemd; one that starts counts as alive."""
    return run.stage is Stage.STARTING or (run.is_well and run.silence <= MAX_BEAT_SECONDS)
