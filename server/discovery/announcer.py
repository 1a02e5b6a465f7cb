"""
Keep the record of a worker in a registry while the worker is ready.

Decides when the record is written: when the worker is ready, when its waits or models have changed,
and in time to renew its lease.  Depends neither on models nor on engines.  Everything here runs on
the reactor thread; at most one call of the registrar is under way.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from server.discovery.backoff import Backoff
from server.discovery.cancelling import ended_when_cancelled
from server.discovery.engine import CALL_TIMEOUT, EngineError, Registrar
from server.discovery.engine_url import join_host_port
from server.discovery.worker_record import ModelLoad, WorkerRecord

_log = Logger()

#: How often the record is compared with the registered one: it is written at most as often.
CHECK_INTERVAL_SECONDS = 1.0

#: A wait has changed if it differs by more than this share and more than so many seconds.
MIN_CHANGE_RATIO, MIN_CHANGE_SECONDS = 0.2, 0.001

#: A worker that is not ready for so long is withdrawn.
MAX_UNREADY_SECONDS = 2.0

#: The most seconds for a call that exceeds its own timeout.
MAX_CALL_SECONDS = CALL_TIMEOUT + 1.0

#: The most seconds of a stop: to withdraw the record, and then to close the registrar.
MAX_WITHDRAW_SECONDS, MAX_CLOSE_SECONDS = CALL_TIMEOUT + 0.5, 1.0


@dataclass(slots=True)
class Announcement:
    """What metrics report of an `Announcer`."""

    is_registered: bool = False  #: whether the last call has written the record
    failures: int = 0  #: calls of the registrar that have failed


class Announcer:
    """Registers one worker with one registry; inert until `start`."""

    def __init__(
        self,
        registrar: Registrar,
        record: Callable[[], Awaitable[WorkerRecord]],
        *,
        ready: Callable[[], bool],
        registry: str,
        lease: float,
        clock: IReactorTime,
        backoff: Backoff,
        announcement: Announcement,
    ) -> None:
        """
        *record* returns the present record; an `EngineError` of it is retried like those of the
        registrar.  *ready* returns whether the worker takes requests.  *registry* names the
        registry in the log.  *lease* is in seconds.  The announcer updates *announcement*.
        """
        self._registrar = registrar
        self._record = record
        self._ready = ready
        self._registry = registry
        self._lease = lease
        self._clock = clock
        self._backoff = backoff
        self.announcement = announcement
        self._interval = min(CHECK_INTERVAL_SECONDS, lease / 3)
        self._last: WorkerRecord | None = None  # as it was written last
        self._written = 0.0  # when that began
        self._may_be_listed = False
        self._unready_since: float | None = None
        self._is_lost = False
        self._stopping = False
        #: What a stop cancels, because no record is written meanwhile.
        self._waiting: Deferred[Any] | None = None  # Any: a record, or None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Register the worker as soon as it is ready, and from then on keep its record."""
        self._running = ensureDeferred(self._run())

    async def stop(self) -> None:
        """
        Withdraw the record, then close the registrar.

        Takes at most `MAX_WITHDRAW_SECONDS` plus `MAX_CLOSE_SECONDS`.  Errors are logged: the lease
        of a record that is not withdrawn ends by itself.
        """
        self._stopping = True
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            await ensureDeferred(self._end()).addTimeout(MAX_WITHDRAW_SECONDS, self._clock)
        except (EngineError, DeferredTimeout) as error:
            _log.warn(
                "not withdrawn from {registry}: {reason}; its lease ends within {lease:g} s",
                registry=self._registry,
                reason=_reason(error),
                lease=self._lease,
            )
        finally:
            closing = self._call(self._registrar.close, MAX_CLOSE_SECONDS)
            closing.addErrback(self._log_unclosed)
        await closing

    async def _end(self) -> None:
        if self._running is not None:
            await self._running
        if self._may_be_listed:
            await self._withdraw("the server stops")

    def _log_unclosed(self, failure: Failure) -> None:
        _log.failure(
            "the connection to {registry} was not closed", failure, registry=self._registry
        )

    async def _run(self) -> None:
        while not self._stopping:
            seconds = await self._step()
            if not self._stopping:
                pause: Deferred[None] = deferLater(self._clock, seconds)
                self._waiting = pause
                with suppress(CancelledError):  # a stop cancels it
                    await pause

    async def _step(self) -> float:
        """Make the call that is due, if any; return the seconds until the next step."""
        try:
            if self._ready():
                await self._announce()
            else:
                await self._withdraw_if_unready()
        except Exception as error:
            if self._stopping and isinstance(error, CancelledError):
                raise
            self._failed(error)
            return self._backoff.next()
        return self._interval

    async def _announce(self) -> None:
        self._unready_since = None
        record = await self._made()
        if record is None:
            return
        now = self._clock.seconds()
        is_late = now + self._interval > self._written + self._lease / 3
        if not is_late and self._last is not None and not has_changed(self._last, record):
            return
        self._may_be_listed = True
        await self._call(lambda: self._registrar.put(record), MAX_CALL_SECONDS)
        self._last, self._written = record, now
        self._succeeded()
        if not self.announcement.is_registered:
            self.announcement.is_registered = True
            _log.info(
                "registered with {registry} as {address}",
                registry=self._registry,
                address=join_host_port(record.host, record.port),
            )

    async def _made(self) -> WorkerRecord | None:
        """Return the present record; None if a stop has begun, which does not wait for it."""

        async def record() -> WorkerRecord:
            return await self._record()

        self._waiting = making = ended_when_cancelled(ensureDeferred(record()))
        try:
            return await making
        except CancelledError:
            if not self._stopping:
                raise
            return None

    async def _withdraw_if_unready(self) -> None:
        now = self._clock.seconds()
        if self._unready_since is None:
            self._unready_since = now
        if self._may_be_listed and now - self._unready_since >= MAX_UNREADY_SECONDS:
            await self._withdraw("the server is not ready")

    async def _withdraw(self, reason: str) -> None:
        await self._call(self._registrar.withdraw, MAX_CALL_SECONDS)
        self._succeeded()
        self._may_be_listed = self.announcement.is_registered = False
        self._last = None
        _log.info("withdrawn from {registry}: {reason}", registry=self._registry, reason=reason)

    def _succeeded(self) -> None:
        self._is_lost = False
        self._backoff.reset()

    def _failed(self, error: Exception) -> None:
        """Count a failure; log the first one since a call has succeeded."""
        self.announcement.failures += 1
        self.announcement.is_registered = False
        self._last = None
        if self._is_lost:
            return
        self._is_lost = True
        if isinstance(error, EngineError | DeferredTimeout):
            _log.warn(
                "not registered with {registry}: {reason}; "
                "the server continues to serve and tries again",
                registry=self._registry,
                reason=_reason(error),
            )
        else:
            _log.failure("not registered with {registry}", Failure(error), registry=self._registry)

    def _call(self, call: Callable[[], Awaitable[None]], seconds: float) -> Deferred[None]:
        """Return a Deferred of *call*, which fails with a TimeoutError after *seconds*."""

        async def result() -> None:
            await call()

        return ensureDeferred(result()).addTimeout(seconds, self._clock)


def _reason(error: Exception) -> str:
    return "it does not answer" if isinstance(error, DeferredTimeout) else str(error)


def has_changed(old: WorkerRecord, new: WorkerRecord) -> bool:
    """Return whether *new* has another address, models or versions, or waits that differ much."""
    if (old.host, old.port) != (new.host, new.port):
        return True
    if old.models is None or new.models is None:
        return old.models is not new.models
    if old.models.keys() != new.models.keys():
        return True
    return any(_differs(old.models[name], load) for name, load in new.models.items())


def _differs(old: ModelLoad, new: ModelLoad) -> bool:
    return (
        old.versions != new.versions
        or _has_moved(old.expected_wait, new.expected_wait)
        or _has_moved(old.added_wait, new.added_wait)
    )


def _has_moved(old: float, new: float) -> bool:
    return abs(new - old) > max(MIN_CHANGE_RATIO * old, MIN_CHANGE_SECONDS)
