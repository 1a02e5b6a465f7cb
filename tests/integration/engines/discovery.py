"""Registrars and watches of the real registries, on the reactor of the test."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from server.discovery.engine import EngineError, Registrar, Watch
from server.discovery.engine_url import EngineURL, parse_engine_url
from server.discovery.engines.etcd import EtcdRegistrar, EtcdWatch
from server.discovery.engines.zookeeper import ZooKeeperRegistrar, ZooKeeperWatch
from server.discovery.worker_record import ModelLoad, WorkerRecord

REGISTRARS: Mapping[str, Callable[[EngineURL, object], Registrar]] = {
    "zk": ZooKeeperRegistrar,
    "etcd": EtcdRegistrar,
}
WATCHES: Mapping[str, Callable[[EngineURL, object], Watch]] = {
    "zk": ZooKeeperWatch,
    "etcd": EtcdWatch,
}


def worker(number: int, wait: float = 0.0) -> WorkerRecord:
    """Return the record of a worker with one model, whose requests take *wait* seconds."""
    models = {"pets": ModelLoad(wait, 0.001, ("1",))}
    return WorkerRecord(f"worker-{number}", "127.0.0.1", 9000 + number, models)


class Discovery:
    """The registrars and watches of one URL."""

    def __init__(self, url: str) -> None:
        self.url = parse_engine_url(url)
        self._registrars: list[Registrar] = []
        self._watches: list[Watch] = []

    def registrar(self) -> Registrar:
        """Return another one, as of another worker."""
        made = REGISTRARS[self.url.scheme](self.url, reactor)
        self._registrars.append(made)
        return made

    def watch(self) -> Watch:
        """Return another one, which is started."""
        made = WATCHES[self.url.scheme](self.url, reactor)
        made.start()
        self._watches.append(made)
        return made

    async def close(self) -> None:
        """End all of them."""
        for registrar in self._registrars:
            await registrar.close()
        for watch in self._watches:
            await watch.stop()


@asynccontextmanager
async def discovery(url: str) -> AsyncIterator[Discovery]:
    """Yield registrars and watches of *url*, which are ended with the block."""
    opened = Discovery(url)
    try:
        yield opened
    finally:
        await opened.close()


def pause(seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after *seconds*."""
    return deferLater(reactor, seconds)


async def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> float:
    """Return after how many seconds *condition* holds; fail after *seconds*."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"no {what} within {seconds:g} s"
        await pause(0.005)
    return time.monotonic() - start


async def until_put(registrar: Registrar, record: WorkerRecord, seconds: float = 30.0) -> float:
    """Put *record* again and again; return after how many seconds it succeeds."""
    start = time.monotonic()
    while True:
        try:
            await registrar.put(record)
        except EngineError as error:
            assert time.monotonic() < start + seconds, error  # noqa: PT017 - others may follow
            await pause(0.1)
        else:
            return time.monotonic() - start
