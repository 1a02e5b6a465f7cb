"""
Run the real service in the process of the test, which can count its runs and hold them back.

Its sockets, threads and Session are real; the reactor is that of pytest-twisted.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest_twisted  # type: ignore[import-untyped, unused-ignore]  # it has no types
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from batcher.stats import BatcherStats
from model.backend import LoadedModel, OnProgress, Runner
from model.execution.recorder import Totals
from model.signature import Arrays, Feed, Signature
from server.model_loading import load_model
from server.service import InferenceService
from server.settings.table import Settings
from tests.integration.clients import Answer, post
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
    """A runner that records the rows of each run, and starts none while its gate is closed."""

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
        """As the wrapped runner."""
        return self._runner.signatures

    @property
    def fingerprint(self) -> str:
        """As the wrapped runner."""
        return self._runner.fingerprint

    @property
    def device(self) -> str:
        """As the wrapped runner."""
        return self._runner.device

    @contextmanager
    def held(self) -> Iterator[None]:
        """Start no run while the block runs."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def run(self, feed: Feed) -> Arrays:
        """Run the batch in the real Session, once the gate is open."""
        self.batches.append(feed.rows)
        self.firsts.extend(array.flat[0] for array in feed.arrays[:1])
        assert self.gate.wait(60), "the gate was not opened"
        return self._runner.run(feed)

    def close(self) -> None:
        """Close the real Session."""
        self._runner.close()


class StartFailed(AssertionError):
    """A server could not start; the message is its error."""


class WatchedServer:
    """An `InferenceService` with a runner that is watched; use as `watched_server` gives it."""

    def __init__(self, settings: Settings) -> None:
        self.ready: Deferred[None] = Deferred()
        self.service = InferenceService(
            settings,
            reactor,
            fail=self._failed,
            load=self._load,
            # The server is ready as soon as this call has returned.
            on_loaded=lambda: reactor.callLater(0, self._is_ready),
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        address = self.service.ports[0].getHost()
        assert isinstance(address, IPv4Address)
        return address.port

    @property
    def stats(self) -> BatcherStats:
        """The current numbers of waiting rows and of runs in progress."""
        return self.service.models.find().model.batcher.stats()

    @property
    def totals(self) -> Totals:
        """The present counts of rows by their outcome."""
        return self.service.models.find().model.recorder.totals

    def _failed(self, line: str) -> None:
        self.ready.errback(StartFailed(line))

    def _is_ready(self) -> None:
        self.runner.batches.clear()  # those of the warm-up
        self.runner.firsts.clear()
        self.ready.callback(None)

    def _load(self, settings: Settings, on_progress: OnProgress) -> LoadedModel:
        loaded = load_model(settings, on_progress)
        self.runner = WatchedRunner(loaded.runner)
        return replace(loaded, runner=self.runner)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when *condition* holds, checked every 10 milliseconds; fail after 30 seconds."""
        for _ in range(3000):
            if condition():
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"no {what} within 30 s")


@asynccontextmanager
async def watched_server(settings: Settings, cache_home: Path) -> AsyncIterator[WatchedServer]:
    """
    Yield a server that is ready; at the end drain it, and restore the environment.

    An idle lane takes all that waits, however long runs take, and there is no default timeout, so
    that a test can foresee the batches.  Raises `StartFailed`.
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


async def asked(
    watched: WatchedServer,
    body: bytes,
    *,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Post *body* to *watched* in a thread, and return the answer."""
    return await deferToThread(partial(post, watched.port, body, path=path, headers=headers))
