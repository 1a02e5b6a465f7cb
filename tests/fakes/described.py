"""The whole table of routes on a server without sockets, with the small models of both dialects."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock

from model.execution.decode_pool import DecodePool
from model.execution.thread import ModelThread
from model.signature import blank_feed
from server.api.health import HealthAPI
from server.api.models_api import Permit
from server.api.native import NATIVE
from server.api.permit import permit_any
from server.api.route_table import route_table
from server.heartbeat import Heartbeat
from server.http.limits import BodyLimits
from server.inference import Inference
from server.lifecycle import Lifecycle, State
from server.metrics.gpu import GPUs
from server.metrics.readings import Readings
from server.metrics.scrape import Scrapes
from server.models import Models, Versions
from tests.fakes import kserve, tfserving
from tests.fakes.http import Answer, request
from tests.fakes.models_api import FakeChanges
from tests.fakes.numpy_models import NumpyLane, numpy_model
from tests.fakes.server import LABELS
from tests.fakes.threads import Calls, ManualThreads
from tests.fakes.wire import WireServer

#: The models by name; the pets take images, and have labels.
MODELS = {**tfserving.MODELS, **kserve.MODELS}


def _no_thread(name: str) -> ModelThread:
    raise AssertionError(f"no thread {name} is needed: nothing scrapes this server")


class DescribedServer:
    """The routes; `load` adds a model."""

    def __init__(self, *names: str, permit: Permit = permit_any) -> None:
        self.clock = Clock()
        self._threads, self._calls = ManualThreads(), Calls()
        self.pool = DecodePool(self._calls, 1, pool=self._threads, clock=self.clock.seconds)
        self.pool.start()
        self.models = Models(lambda: "loading")
        self.models.starting = False
        lifecycle = Lifecycle()
        lifecycle.move(State.READY)
        health = HealthAPI(
            Heartbeat(self.clock, lambda: ()),
            lifecycle,
            lambda: bool(self.models.names),
        )
        limits = BodyLimits(max_body=1 << 16, max_held=1 << 16)
        self.routes = route_table(
            self.models,
            FakeChanges(),  # type: ignore[arg-type]  # it has the methods that the routes call
            self.pool,
            NATIVE,
            health=health,
            scrapes=Scrapes(Readings, GPUs(self.clock, _no_thread), _no_thread),
            permit=permit,
            clock=self.clock,
            limits=limits,
        )
        self.server = WireServer(more=self.routes, clock=self.clock, body_limits=limits)
        for name in names:
            self.load(name)

    def load(self, name: str, version: str = "1") -> Inference:
        """Serve *version* of the model *name* of `MODELS` instead of any other."""
        images = name == "pets"
        model = numpy_model(
            name,
            version,
            MODELS,
            NumpyLane(name, MODELS, []),
            self.clock,
            max_queue_bytes=1 << 12,
            takes_images=images,
            labels=LABELS if images else (),
        )
        samples = {it.name: blank_feed(it, b"text") for it in model.signatures.values()}
        inference = Inference(replace(model, samples=samples), self.pool, clock=self.clock)
        self.models.route(name, Versions({version: inference}, version))
        return inference

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and return its answer once all work for it is done."""
        client = self.server.connect()
        client.send(request(method, path, body, headers))
        for _ in range(1000):
            if client.received:
                break
            while self._threads.queue:
                self._threads.step()
                self._calls.drain()
            self.clock.advance(0)
        return client.answer

    def document(self) -> Any:  # Any: JSON
        """Return the description of the API."""
        answer = self.ask("GET", "/openapi.json")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        return answer.json()
