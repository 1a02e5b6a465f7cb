"""The routes of the v2 protocol on a server without sockets, with small models of numpy."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from twisted.internet.task import Clock

from model.execution.decode_pool import DecodePool
from model.images.input import ImageInput
from model.signature import Arrays, Signature, TensorSpec
from server.api.coded_routes import CodedRoutes
from server.api.health import HealthAPI
from server.api.inference_api import InferenceAPI
from server.api.kserve.kserve_api import KServeAPI
from server.api.models_api import Permit
from server.api.native import NATIVE
from server.api.permit import permit_any
from server.heartbeat import Heartbeat
from server.http.error_statuses import HTTPError
from server.http.limits import BodyLimits
from server.http.messages import Route
from server.inference import Inference
from server.lifecycle import Lifecycle, State
from server.models import Models, Versions
from server.repository.version_report import ModelReport, VersionReport
from server.served_model import ServedModel
from tests.fakes.http import Answer, Client, request
from tests.fakes.models_api import FakeChanges
from tests.fakes.numpy_models import Compute, NumpyLane, numpy_model, spec
from tests.fakes.numpy_models import Models as NumpyModels
from tests.fakes.server import SIGNATURE
from tests.fakes.threads import Calls, ManualThreads
from tests.fakes.wire import WireServer

#: The most bytes of a body.
MAX_BYTES = 1 << 16

#: The time since 1970 at which the clock of the server is at zero, in seconds.
EPOCH = 1_700_000_000.0


def _echo(dtype: str, name: str = "serving_default") -> tuple[Signature, Compute]:
    tensors = (spec("x", dtype, 2),), (spec("y", dtype, 2),)
    return Signature(*tensors, name), lambda x: (x,)


def _colours(pixels: np.ndarray) -> Arrays:
    """Return the mean of each colour, from 0 to 1."""
    return ((pixels.mean(axis=(1, 2)) / 255).astype(np.float32),)


_DTYPES = {
    **{name.upper(): name for name in ("bool", "uint8", "uint16", "uint32", "uint64")},
    **{name.upper(): name for name in ("int8", "int16", "int32", "int64")},
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "string",
}

_SCALAR = TensorSpec("x", np.dtype(np.float32), ())

#: The signatures of each model, and what each computes.
MODELS: NumpyModels = {
    **{f"echo_{name.lower()}": [_echo(dtype)] for name, dtype in _DTYPES.items()},
    "sums": [
        (
            Signature(
                (spec("a", "float32", 2), spec("n", "int64", 1), spec("s", "string", 1)),
                (spec("sum", "float32", 2), spec("twice", "int64", 1), spec("t", "string", 1)),
            ),
            lambda a, n, s: (a + n.astype(np.float32), n * 2, s + b"!"),
        ),
        _echo("float32", "only"),
    ],
    "open": [
        (
            Signature((spec("x", "float32", None),), (spec("y", "float32", None),)),
            lambda x: (x * 2,),
        )
    ],
    "wide": [
        (Signature((spec("x", "int8", None, None),), (spec("y", "int8", None, None),)),
            lambda x: (x,)),
    ],
    "scalar": [
        (Signature((_SCALAR,), (TensorSpec("y", np.dtype(np.float32), ()),), alone="a scalar"),
            lambda x: (x + 1,)),
    ],
    "pets": [(SIGNATURE, _colours)],
    "yes": [
        (
            Signature(SIGNATURE.inputs, (spec("score", "float32", 1),)),
            lambda pixels: (_colours(pixels)[0][:, :1],),
        )
    ],
    "words": [
        (
            Signature((spec("files", "string"),), (spec("sizes", "int64"),)),
            lambda files: (np.array([len(each) for each in files]),),
        )
    ],
}  # fmt: skip


def _model(name: str, version: str, clock: Clock, lane: NumpyLane) -> ServedModel:
    labels = {"pets": ("cat", "dog", "eel"), "yes": ("no", "yes")}.get(name, ())
    model = numpy_model(
        name,
        version,
        MODELS,
        lane,
        clock,
        max_queue_bytes=1 << 16,
        takes_images=bool(labels),
        labels=labels,
    )
    if name == "yes" and model.image_input is not None:
        signature = model.signatures["serving_default"]
        image_input = ImageInput(signature, model.image_input.array_of, "", two_classes=True)
        return replace(model, image_input=image_input)
    return model


class FakeRepository(FakeChanges):
    """Records changes; the reports of the models are set by the test."""

    def __init__(self, *reports: ModelReport) -> None:
        super().__init__()
        self.every = {report.name: report for report in reports}

    def reports(self) -> list[ModelReport]:
        """Return all reports."""
        return list(self.every.values())

    def report(self, name: str) -> ModelReport:
        """Return the report of *name*; raises a 404 if there is none."""
        if name not in self.every:
            raise HTTPError(404, f"no model {name!r}")
        return self.every[name]

    def _record(self, *call: object) -> ModelReport:
        super()._record(*call)
        return self.every[str(call[1])]


#: The reports of the models that do not serve, and of one that serves.
REPORTS = (
    ModelReport("broken", (), None, problem="serving.toml: line 1: no TOML"),
    ModelReport("failed", (VersionReport("1", "failed", "no graph"),), None),
    ModelReport("idle", (VersionReport("1", "not served"),), None),
    ModelReport("slow", (VersionReport("1", "loading"),), None),
    ModelReport(
        "sums",
        (
            VersionReport("4", "failed", "no graph"),
            VersionReport("3", "draining"),
            VersionReport("2", "serving"),
            VersionReport("1", "serving", labels=("stable",)),
        ),
        "2",
    ),
)


class KServeServer:
    """The routes, and `POST /` to the model pets, with the models of `MODELS`."""

    def __init__(self, permit: Permit = permit_any) -> None:
        self.clock = Clock()
        self._threads, self._calls = ManualThreads(), Calls()
        #: The model and the rows of each batch.
        self.batches: list[tuple[str, int]] = []
        pool = DecodePool(self._calls, 1, pool=self._threads, clock=self.clock.seconds)
        pool.start()
        self.models = Models(lambda: "loading")
        self.models.starting = False
        self.lanes = {name: NumpyLane(name, MODELS, self.batches) for name in MODELS}
        for name, lane in self.lanes.items():
            versions = ("2", "1") if name == "sums" else ("1",)
            served = {
                version: Inference(
                    _model(name, version, self.clock, lane),
                    pool,
                    clock=self.clock,
                )
                for version in versions
            }
            labels = {"stable": "1"} if name == "sums" else {}
            awaited = ("5",) if name == "sums" else ()
            self.models.route(name, Versions(served, versions[0], labels, awaited, ()))
        self.models.await_models({"slow": "loading"})
        self.changes = FakeRepository(*REPORTS)
        alive = Heartbeat(self.clock, lambda: (), hung=lambda: ["mlp/1"] if self.hung else [])
        self.hung = False
        pets = InferenceAPI(lambda _: self.models.find("pets"), NATIVE, seconds=self.clock.seconds)
        self.lifecycle = Lifecycle()
        health = HealthAPI(alive, self.lifecycle, lambda: bool(self.models.names))
        api = KServeAPI(
            self.models,
            self.changes,
            health,
            permit=permit,
            clock=self.clock,
            epoch=lambda: EPOCH + self.clock.seconds(),
        )
        native = Route(
            "POST",
            "/native",
            pets.predict,
            operations=(),
            preflight=pets.preflight,
            write_error=pets.write_error,
        )
        limits = BodyLimits(max_body=MAX_BYTES, max_held=MAX_BYTES)
        routes = CodedRoutes(pool, limits).coded(*api.routes(), native)
        self.server = WireServer(more=routes, clock=self.clock, body_limits=limits)
        self.lifecycle.move(State.READY)

    def inference(self, name: str, version: str = "1") -> Inference:
        """Return the inference of one version of a model."""
        return self.models.find(name, version)

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        decode: bool = True,
    ) -> Client:
        """Send a request; return its client, once it is answered unless *decode* is false."""
        client = self.server.connect()
        client.send(request(method, path, body, headers))
        if decode:
            self.decode()
        return client

    def decode(self) -> None:
        """Run all jobs of the decode thread."""
        while self._threads.queue:
            self._threads.step()
            self._calls.drain()

    def answer(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and return its answer."""
        return self.send(method, path, body, headers).answer
