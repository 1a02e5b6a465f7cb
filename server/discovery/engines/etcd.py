"""
Workers in etcd: a key ``PATH/workers/ID`` for each, under a lease, with its record as JSON.

etcd has leases of whole seconds, and none shorter than its own minimum (2 seconds by default).
Runs on the reactor thread.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    FirstError,
    ensureDeferred,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from server.discovery.backoff import Backoff
from server.discovery.engine import EngineError
from server.discovery.engine_url import EngineURL
from server.discovery.engines.etcd_client import EtcdClient
from server.discovery.engines.etcd_messages import (
    Message,
    Refused,
    below,
    change_result,
    changes,
    encode,
    key,
    records,
    revision,
    whole_seconds,
)
from server.discovery.engines.one_call import OneCall
from server.discovery.engines.records import folder_of, read_record
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

_log = Logger()

#: Seconds between two small calls that show whether the server still answers: a stream from a
#: server that is stopped is silent, like one without changes.
PROBE_SECONDS = 2.0

#: After so many of them, everything is read anew, for a stream that was lost without a notice.
PROBES = 15


class EtcdRegistrar:
    """A `Registrar`.  All its records have the same id."""

    def __init__(self, url: EngineURL, reactor: Any) -> None:  # Any: TCP and timers
        self._folder = folder_of(url)
        self._seconds = whole_seconds(url.lease)
        self._client = EtcdClient(url, reactor)
        self._calls = OneCall(reactor)
        self._lease: str | None = None
        #: What the key has, if a write of it has succeeded.
        self._written: bytes | None = None

    def put(self, record: WorkerRecord) -> Deferred[None]:
        """Renew the lease; write *record* where it has changed, or where its key is not there."""
        return self._calls.run(self._put(record))

    def withdraw(self) -> Deferred[None]:
        """Revoke the lease, which removes the key."""
        return self._calls.run(self._withdraw())

    def close(self) -> Deferred[None]:
        """Close the connections; the key stays until its lease ends."""
        self._calls.end()
        return self._client.close()

    async def _put(self, record: WorkerRecord) -> None:
        if self._lease is None or not await self._renew(self._lease):
            self._lease = self._written = None
            answer = await self._client.call("lease/grant", {"TTL": self._seconds})
            self._lease = answer["ID"]
        text, name = record.to_json(), key(self._folder, record.id)
        if text == self._written and await self._is_there(name):
            return
        self._written = None
        await self._client.call(
            "kv/put", {"key": name, "value": encode(text), "lease": self._lease}
        )
        self._written = text

    async def _renew(self, lease: str) -> bool:
        """Return whether *lease* was still there."""
        answer = await self._client.call("lease/keepalive", {"ID": lease})
        return int(answer["result"].get("TTL", 0)) > 0

    async def _is_there(self, name: str) -> bool:
        answer = await self._client.call("kv/range", {"key": name, "count_only": True})
        return int(answer.get("count", 0)) > 0

    async def _withdraw(self) -> None:
        if self._lease is None:
            return
        try:
            await self._client.call("lease/revoke", {"ID": self._lease})
        except Refused as refused:
            if not refused.is_about_a_lost_lease:
                raise
        self._lease = self._written = None


class EtcdWatch:
    """A `Watch`: everything is read once, then a stream has the changes."""

    def __init__(
        self,
        url: EngineURL,
        reactor: Any,  # Any: TCP and timers
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.members = Members(str(url), seconds)
        self._folder = folder_of(url)
        self._reactor = reactor
        self._client = EtcdClient(url, reactor)
        self._backoff = Backoff(random.random)
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Read, and follow the changes."""
        self._running = ensureDeferred(self._run()).addErrback(_state_error)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        if self._running is not None:
            self._running.cancel()
        return self._client.close()

    async def _run(self) -> None:
        while True:
            try:
                last = await self._read_all()
                self.members.is_current()
                await self._follow(last + 1)
            except EngineError as error:
                self.members.is_away(str(error))
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - everything is read again, whatever was wrong
                _log.failure("the workers in etcd could not be read")
                self.members.is_away("etcd: an answer that could not be read")
            await deferLater(self._reactor, self._backoff.next())

    async def _read_all(self) -> int:
        """Make the members those of etcd; return the revision at which it was read."""
        answer = await self._client.call("kv/range", below(self._folder))
        read = [read_record(it.worker_id, it.text) for it in records(answer.get("kvs", []))]
        self.members.replace({it.id: it for it in read if it is not None})
        return revision(answer)

    async def _follow(self, first: int) -> None:
        """Apply the changes from revision *first* on; return when to read everything anew."""
        request = {"create_request": {**below(self._folder), "start_revision": str(first)}}
        stream = await self._client.stream("watch", request, self._apply)
        probes = ensureDeferred(self._probe())
        both = [stream.ended.addCallback(_has_ended), probes]
        try:
            await DeferredList(
                both, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
            )
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            for it in both:
                it.cancel()

    async def _probe(self) -> None:
        """Return after `PROBES`, or when another server answers than that of the stream."""
        server = self._client.server
        for _ in range(PROBES):
            await deferLater(self._reactor, PROBE_SECONDS)
            await self._client.call("kv/range", {**below(self._folder), "count_only": True})
            if self._client.server != server:
                return
            self._backoff.reset()

    def _apply(self, message: Message) -> None:
        for change in changes(change_result(message)):
            record = None
            if change.text is not None:
                record = read_record(change.worker_id, change.text)
            if record is None:
                self.members.remove(change.worker_id)
            else:
                self.members.put(record)


def _has_ended(_: None) -> None:
    raise EngineError("etcd: the stream of changes has ended")


def _state_error(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("following the workers in etcd failed", failure)
