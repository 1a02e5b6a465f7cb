"""
Run the real service inside the test's own process, where its runs can be counted and held back.

Its sockets, threads and Session are those of any server; only the reactor is pytest-twisted's.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest_twisted  # type: ignore[import-untyped, unused-ignore]  # it has no types
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from batcher.stats import BatcherStats
from model.backend import Runner
from model.signature import Arrays, Feed, Signature
from server.lifecycle import State
from server.model_loading import LoadedModel, OnProgress, load_model
from server.service import InferenceService
from server.settings.table import Settings
from tests.integration.servers import environment

P = ParamSpec("P")
Fixture = TypeVar("Fixture", bound=Callable[..., object])

#: Lets a test await Deferreds.
in_reactor: Callable[[Callable[P, Coroutine[object, object, None]]], Callable[P, None]] = (
    pytest_twisted.ensureDeferred
)


def module_fixture(*params: str) -> Callable[[Fixture], Fixture]:
    """Make an async generator a fixture of its module, one for each of *params*."""
    decorate: Callable[[Fixture], Fixture] = pytest_twisted.async_yield_fixture(
        scope="module", params=params
    )
    return decorate


class WatchedRunner:
    """A runner that notes the rows of each run, and lets none begin while its gate is closed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        #: The rows of each run, in the order of their beginnings; filled by the model threads.
        self.batches: list[int] = []
        #: The first number, or string, of each of them.
        self.firsts: list[object] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def signatures(self) -> Sequence[Signature]:
        """The model's own."""
        return self._runner.signatures

    @property
    def fingerprint(self) -> str:
        """The model's own."""
        return self._runner.fingerprint

    @property
    def device(self) -> str:
        """The model's own."""
        return self._runner.device

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no run begin while the block runs."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def run(self, feed: Feed) -> Arrays:
        """Run the batch in the real Session, once the gate is open."""
        self.batches.append(feed.rows)
        self.firsts.extend(array.flat[0] for array in feed.arrays[:1])
        assert self.gate.wait(60), "nobody opened the gate"
        return self._runner.run(feed)

    def close(self) -> None:
        """Close the real Session."""
        self._runner.close()


class StartFailed(AssertionError):
    """What a server said that could not start."""


class WatchedServer:
    """An `InferenceService` with a runner that is watched; use as `watched_server` gives it."""

    def __init__(self, settings: Settings) -> None:
        self.ready: Deferred[None] = Deferred()
        self.service = InferenceService(settings, reactor, fail=self._failed, load=self._load)
        self.service.lifecycle.observe(self._moved)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        address = self.service.ports[0].getHost()
        assert isinstance(address, IPv4Address)
        return address.port

    @property
    def stats(self) -> BatcherStats:
        """How many rows wait, and how many runs are under way, just now."""
        return self.service.inference().model.batcher.stats()

    def _failed(self, line: str) -> None:
        self.ready.errback(StartFailed(line))

    def _moved(self, state: State) -> None:
        if state is State.READY:
            self.runner.batches.clear()  # those of the warm-up
            self.runner.firsts.clear()
            self.ready.callback(None)

    def _load(self, settings: Settings, on_progress: OnProgress) -> LoadedModel:
        loaded = load_model(settings, on_progress)
        self.runner = WatchedRunner(loaded.runner)
        return replace(loaded, runner=self.runner)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once *condition* holds, looked at every few milliseconds; fail after 30 s."""
        for _ in range(3000):
            if condition():
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"waited in vain for {what}")


@asynccontextmanager
async def watched_server(settings: Settings, cache_home: Path) -> AsyncIterator[WatchedServer]:
    """
    Give a server that is ready; at the end it drains, and the environment is as before.

    An idle lane takes all that waits, however long runs take, and there is no default timeout: a
    test knows which batches there will be.  Raises `StartFailed`.
    """
    delay = settings.max_queue_delay or 0.0
    settings = replace(settings, max_queue_delay=delay, default_timeout=inf)
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(cache_home))
    watched = WatchedServer(settings)
    watched.service.privilegedStartService()
    watched.service.startService()
    try:
        await watched.ready
        try:
            yield watched
        finally:
            watched.runner.gate.set()
    finally:
        await watched.service.stopService()
        os.environ.clear()
        os.environ.update(before)
