"""
Workers in ZooKeeper: an ephemeral node ``/PATH/workers/ID`` for each, with its record as JSON.

The lease is the session: while it lives, an unchanged record is not written again.  ZooKeeper
bounds a session's timeout, by default from 2 to 20 of its ticks (4 to 40 seconds).  With user and
password in the URL, nodes are made for this user alone.  Runs on the reactor thread.
"""

import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FirstError,
    ensureDeferred,
    gatherResults,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from server.discovery.backoff import Backoff
from server.discovery.engine import EngineError
from server.discovery.engine_url import EngineURL
from server.discovery.engines.one_call import OneCall
from server.discovery.engines.records import folder_of, read_record
from server.discovery.engines.zookeeper_session import CONNECTED, ZooKeeperSession
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

_log = Logger()


class ZooKeeperRegistrar:
    """
    A `Registrar`.  One session for as long as it is open.

    `close` ends the session, and with it the record, if ZooKeeper answers.
    """

    def __init__(self, url: EngineURL, reactor: Any) -> None:  # Any: threads and timers
        self._folder = f"/{folder_of(url)}"
        self._session = ZooKeeperSession(url, reactor)
        self._calls = OneCall(reactor)
        self._path = ""
        #: What the node has, if a write of it has succeeded.
        self._written: bytes | None = None

    def put(self, record: WorkerRecord) -> Deferred[None]:
        """Write *record* where it has changed, or where its node is not there."""
        return self._calls.run(_with_reason(self._put(record)))

    def withdraw(self) -> Deferred[None]:
        """Remove the node."""
        return self._calls.run(_with_reason(self._withdraw()))

    def close(self) -> Deferred[None]:
        """End the session."""
        self._calls.end()
        return self._session.stop()

    async def _put(self, record: WorkerRecord) -> None:
        self._session.start()
        await self._session.connected()
        path, text = f"{self._folder}/{record.id}", record.to_json()
        if path != self._path:
            self._path, self._written = path, None
        stat = await self._session.call("exists", path)
        if stat is not None and stat.ephemeralOwner == self._session.id:
            if text == self._written:
                return
            self._written = None
            await self._session.call("set", path, text)
        else:
            self._written = None
            if stat is not None:  # of a former session, which would soon remove it
                await self._session.call("delete", path)
            await self._session.call("create", path, text, ephemeral=True, makepath=True)
        self._written = text

    async def _withdraw(self) -> None:
        if not self._path:
            return
        await self._session.connected()
        self._written = None
        try:
            await self._session.call("delete", self._path)
        except NoNodeError:
            return


async def _with_reason(call: Coroutine[Any, Any, None]) -> None:  # Any: what it awaits
    try:
        await call
    except KazooException as error:
        raise EngineError(reason_of(error)) from error


def reason_of(error: BaseException | None) -> str:
    """Return *error* of kazoo in one line; most have no text but their class."""
    return f"ZooKeeper: {type(error).__name__}" + (f": {error}" if str(error) else "")


class ZooKeeperWatch:
    """
    A `Watch`: one watch for the list of workers, and one for each worker's record.

    A change of one record is read alone.  After a lost connection all are read anew.
    """

    def __init__(
        self,
        url: EngineURL,
        reactor: Any,  # Any: threads and timers
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.members = Members(str(url), seconds)
        self._folder = f"/{folder_of(url)}"
        self._reactor = reactor
        self._session = ZooKeeperSession(url, reactor, self._connection_changed)
        self._backoff = Backoff(random.random)
        #: Those whose node has a watch, or is being read.
        self._watched: set[str] = set()
        self._reading: set[Deferred[None]] = set()

    def start(self) -> None:
        """Connect; it connects again by itself."""
        self.members.is_away("not connected yet")
        self._session.start()

    def stop(self) -> Deferred[None]:
        """End the session."""
        self._end_reading()
        return self._session.stop()

    def _connection_changed(self, reason: str) -> None:
        self._end_reading()
        if reason == CONNECTED:
            self._begin(self._read_all())
        else:
            self.members.is_away(reason)

    async def _read_all(self, delay: float = 0.0) -> None:
        """Read everything after *delay* seconds; the watches of a former connection have ended."""
        if delay:
            await deferLater(self._reactor, delay)
        self._watched.clear()
        await self._session.call("ensure_path", self._folder)
        await self._read_list()
        self._backoff.reset()
        self.members.is_current()

    async def _read_list(self) -> None:
        watch = self._session.watcher(lambda: self._begin(self._read_list()))
        names = set(await self._session.call("get_children", self._folder, watch=watch))
        for gone in self.members.workers.keys() - names:
            self.members.remove(gone)
        # A node may be removed and made anew before it is listed: then it has no watch.
        new, self._watched = names - self._watched, names
        try:
            await gatherResults([ensureDeferred(self._read(it)) for it in new], consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    async def _read(self, worker_id: str) -> None:
        watch = self._session.watcher(lambda: self._begin(self._read(worker_id)))
        path = f"{self._folder}/{worker_id}"
        try:
            text, _ = await self._session.call("get", path, watch=watch)
        except (NoNodeError, NoAuthError):  # without a watch of the node
            record = None
            self._watched.discard(worker_id)
        else:
            record = read_record(worker_id, text)
            self._watched.add(worker_id)
        if record is None:
            self.members.remove(worker_id)
        else:
            self.members.put(record)

    def _begin(self, reading: Coroutine[Any, Any, None]) -> None:  # Any: what it awaits
        """Run *reading*; if it fails, read everything anew, later."""
        running = ensureDeferred(reading)
        self._reading.add(running)

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return
            if not failure.check(KazooException):
                _log.failure("reading the workers in ZooKeeper failed", failure)
            self._end_reading()
            self.members.is_away(reason_of(failure.value))
            self._begin(self._read_all(self._backoff.next()))

        running.addErrback(failed)
        running.addBoth(lambda _: self._reading.discard(running))

    def _end_reading(self) -> None:
        for running in list(self._reading):
            running.cancel()
