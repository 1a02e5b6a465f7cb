"""
A session of ZooKeeper for the reactor thread.

kazoo has threads of its own.  Calls to them return Deferreds; changes of the connection and of
nodes enter the reactor thread.  Nothing here blocks that thread.
"""

import logging
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from kazoo.client import KazooClient
from kazoo.interfaces import IAsyncResult
from kazoo.protocol.states import EventType, KazooState, WatchedEvent
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from server.discovery.backoff import MAX_RETRY_SECONDS
from server.discovery.engine import CALL_TIMEOUT
from server.discovery.engine_url import EngineURL, join_host_port

_log = Logger()

#: What a listener of the connection is called with, and why there are no answers.
CONNECTED = ""
AWAY: Mapping[str, str] = {
    KazooState.SUSPENDED: "the connection is lost",
    KazooState.LOST: "the session has ended",
}


def quiet_logger() -> logging.Logger:
    """Return the logger of kazoo, without a line for each try of a server that does not answer."""
    logger = logging.getLogger("tensorferry.zookeeper")
    logger.setLevel(logging.ERROR)
    return logger


class ZooKeeperSession:
    """One session.  Its lease is that of the URL; it connects again by itself."""

    def __init__(
        self,
        url: EngineURL,
        reactor: Any,  # Any: threads and timers
        on_change: Callable[[str], object] = lambda _: None,
    ) -> None:
        """
        Make no connection and no thread: that is `start`.

        *on_change* is called with `CONNECTED`, or with the reason why there is no connection.
        """
        self._reactor = reactor
        self._on_change = on_change
        self._waiting: list[Deferred[None]] = []
        self._running = False
        self._client = _client(url)
        self._client.add_listener(
            lambda state: self._reactor.callFromThread(self._changed, AWAY.get(state, CONNECTED))
        )

    @property
    def id(self) -> int | None:
        """The number of the session, which owns its ephemeral nodes; None without a connection."""
        known = self._client.client_id
        return None if known is None else known[0]

    def start(self) -> None:
        """Begin to connect, on a thread of its own; nothing happens if it has begun."""
        if not self._running:
            self._running = True
            self._client.start_async()

    def connected(self) -> Deferred[None]:
        """Return a Deferred that fires when there is a connection; it may be cancelled."""
        ready: Deferred[None] = Deferred(self._waiting.remove)
        if self._client.connected:
            ready.callback(None)
        else:
            self._waiting.append(ready)
        return ready

    def call(self, name: str, *arguments: object, **options: object) -> Deferred[Any]:
        """
        Call the method *name* of kazoo that ends with ``_async``; the Deferred has its result.

        It fails with the exceptions of kazoo.  ZooKeeper runs the calls of a session in the
        order of their begin, also those whose Deferred was cancelled.
        """
        answer: Deferred[Any] = Deferred()

        def fire(result: IAsyncResult) -> None:
            if answer.called:
                return
            if result.exception is None:
                answer.callback(result.value)
            else:
                answer.errback(result.exception)

        pending = getattr(self._client, f"{name}_async")(*arguments, **options)
        pending.rawlink(lambda result: self._reactor.callFromThread(fire, result))
        return answer

    def watcher(self, changed: Callable[[], object]) -> Callable[[WatchedEvent], None]:
        """Return a watch of kazoo that calls *changed* when a node or its children changed."""

        def watch(event: WatchedEvent) -> None:
            if event.type != EventType.NONE:  # that is a change of the connection
                self._reactor.callFromThread(self._pass_on, changed)

        return watch

    def _pass_on(self, changed: Callable[[], object]) -> None:
        if self._running:
            changed()

    def stop(self) -> Deferred[None]:
        """
        End the session, its connection and its threads; its ephemeral nodes are removed at once.

        If the server does not answer, the Deferred fires after `CALL_TIMEOUT`, and the threads
        end by themselves, at the latest after the lease.  From now on there are no more calls of
        *on_change* and of watches.
        """
        stopped: Deferred[None] = Deferred()
        if not self._running:
            stopped.callback(None)
            return stopped
        self._running = False
        Thread(target=self._end, args=(stopped,), daemon=True).start()
        return stopped.addTimeout(CALL_TIMEOUT, self._reactor, lambda *_: None)

    def _end(self, stopped: Deferred[None]) -> None:
        """Runs on a thread: kazoo waits for its own threads."""
        try:
            self._client.stop()
            self._client.close()
        except Exception:  # noqa: BLE001 - kazoo raises Exception itself
            _log.failure("the connection to ZooKeeper was not closed")
        self._reactor.callFromThread(_fire, stopped)

    def _changed(self, reason: str) -> None:
        if reason == CONNECTED:
            waiting, self._waiting = self._waiting, []
            for ready in waiting:
                ready.callback(None)
        if self._running:
            self._on_change(reason)


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


def _client(url: EngineURL) -> KazooClient:
    credentials = [("digest", f"{url.user}:{url.password}")] if url.user else None
    return KazooClient(
        hosts=",".join(join_host_port(host, port) for host, port in url.hosts),
        timeout=url.lease,
        auth_data=credentials,
        default_acl=CREATOR_ALL_ACL if credentials else None,
        # A try in a third of the lease, so that a short interruption does not end the session.
        connection_retry=KazooRetry(
            max_tries=-1, delay=0.1, max_jitter=0.4, max_delay=min(url.lease / 3, MAX_RETRY_SECONDS)
        ),
        logger=quiet_logger(),
    )
