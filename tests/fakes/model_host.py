"""A model host on fake threads, with a fake model, stepped by the test."""

from collections.abc import Sequence

import numpy as np
import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from model.execution.decode_pool import DecodePool
from model.execution.disturbance import OtherPrograms
from model.signature import Feed, Signature, blank_feed
from server.model_host import ModelHost, lane_pool, stop_serving
from server.model_loading import Loader
from server.settings.table import Settings
from tests.fakes.model import FakeRunner
from tests.fakes.server import SIGNATURE, SIZE, FakeLoader, Labels, SteppedThreads, classify
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")


class ModelHostHarness:
    """
    A host whose threads the test steps.

    A run takes `seconds_per_row` for each row, while other programs use `cores_of_others` of 2.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings | None = None,
        *,
        lanes: int = 1,
        signatures: Sequence[Signature] = (SIGNATURE,),
        capacity: int | None = None,
        must_run: bool = False,
    ) -> None:
        self.clock = Clock()
        self.cpu_of_others = 0.0  #: CPU seconds
        self.calls = Calls()
        self.decoders = ManualThreads()
        self.threads = SteppedThreads()
        self.lines: list[str] = []
        self.runs_after_close = 0
        self.seconds_per_row = 1 / 64
        self.cores_of_others = 0.0
        self.runner = FakeRunner(*signatures, capacity=capacity, spend=self.spend)
        self.loader = FakeLoader(self.runner, lanes=lanes)
        monkeypatch.setattr("model.execution.lane_pool.ModelThread", self.threads)
        self.settings = settings or Settings()
        self.pool = DecodePool(self.calls, 1, pool=self.decoders)
        self.lanes = lane_pool(self.settings, self.clock, self.calls)
        self.hosts: list[ModelHost] = []
        self.must_run = must_run
        self.host = self.add_host(self.loader)

    def add_host(self, loader: Loader) -> ModelHost:
        """Return a host that shares the threads, and is stopped with the others."""
        host = ModelHost(
            self.settings,
            clock=self.clock,
            lanes=self.lanes,
            pool=self.pool,
            on_progress=self.lines.append,
            load=loader,
            must_run=self.must_run,
            watch=lambda seconds: OtherPrograms(seconds, lambda: self.cpu_of_others, 2, 2),
        )
        self.hosts.append(host)
        return host

    def spend(self, rows: int) -> None:
        """Let a run take its time, and count runs on a freed device."""
        self.runs_after_close += self.runner.closed
        self.clock.rightNow += rows * self.seconds_per_row
        self.cpu_of_others += rows * self.seconds_per_row * self.cores_of_others

    def turn(self) -> None:
        """Run until nothing is due."""
        working = True
        while working:
            while self.decoders.queue:
                self.decoders.step()
            self.calls.drain()
            working = self.threads.step()
            self.calls.drain()
            working |= bool(self.decoders.queue)

    def begin(self) -> list[object]:
        """Begin the start; return the list that will hold its outcome."""
        self.pool.start()
        return outcomes(ensureDeferred(self.host.start()))

    def start(self) -> None:
        """Start, and run until the model is ready."""
        started = self.begin()
        self.turn()
        assert started == [self.host.inference] != [None]

    def stop(self) -> list[object]:
        """Begin the stop; return the list that will hold its outcome."""
        return outcomes(ensureDeferred(stop_serving(self.hosts, self.lanes, self.pool)))

    def classify(self) -> Deferred[Labels]:
        """Request the best label of an image."""
        assert self.host.inference is not None
        return classify(self.host.inference, IMAGE, 1)

    def submit(self, rows: int = 1) -> list[object]:
        """Submit *rows* rows; return the list that will hold the answer of the batcher."""
        assert self.host.inference is not None
        model = self.host.inference.model
        feed = Feed(SIGNATURE, (np.zeros((rows, SIZE, SIZE, 3), np.uint8),))
        return outcomes(model.batcher.submit(feed, rows, model.queues.of(feed)))

    @property
    def cap(self) -> int:
        """The largest batch of the default signature, in rows."""
        assert self.host.inference is not None
        model = self.host.inference.model
        return model.queues.of(blank_feed(model.signatures[model.default])).cap

    @property
    def rows(self) -> list[int]:
        """The rows of each run so far."""
        return [len(feed[0]) for feed in self.runner.fed]
