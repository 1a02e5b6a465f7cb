"""The routes of the v2 protocol on a server without sockets, with small models of numpy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from batcher.executor import Piece
from batcher.policy import FixedPolicy
from model.execution.decode_pool import DecodePool
from model.images.input import ImageInput
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed
from server.api.health import HealthAPI
from server.api.inference_api import InferenceAPI
from server.api.kserve.kserve_api import KServeAPI
from server.api.models_api import Permit
from server.api.native import NATIVE
from server.api.permit import permit_any
from server.heartbeat import Heartbeat
from server.http.error_statuses import HTTPError
from server.http.messages import Route
from server.inference import Inference
from server.lifecycle import Lifecycle, State
from server.models import Models, Versions
from server.repository.version_report import ModelReport, VersionReport
from server.served_model import ServedModel
from tests.fakes.http import Answer, Client, request
from tests.fakes.model import fake_queues
from tests.fakes.models_api import FakeChanges
from tests.fakes.server import SIGNATURE, images, served_model
from tests.fakes.threads import Calls, ManualThreads
from tests.fakes.wire import WireServer

#: Returns the outputs of the arrays of a batch.
Compute = Callable[..., Arrays]

#: The most bytes of a body.
MAX_BYTES = 1 << 16

#: The time since 1970 at which the clock of the server is at zero, in seconds.
EPOCH = 1_700_000_000.0


def spec(name: str, dtype: str, *row: int | None) -> TensorSpec:
    """Return a tensor with a batch axis; *dtype* is as numpy names it, "string" or "bfloat16"."""
    kinds = {"string": STRING, "bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return TensorSpec(name, kinds.get(dtype) or np.dtype(dtype), (None, *row))


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
MODELS: Mapping[str, Sequence[tuple[Signature, Compute]]] = {
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


class NumpyLane:
    """A lane whose runs end at once, or when `release` is called if they are `held`."""

    seconds: float | None = None

    def __init__(self, name: str, batches: list[tuple[str, int]]) -> None:
        """*batches* receives the model *name* and the rows of each batch."""
        self.held = False
        self.error: Exception | None = None  #: with which the next run fails
        self._name = name
        self._batches = batches
        self._running: list[tuple[Deferred[Sequence[Arrays]], Sequence[Arrays]]] = []

    def run(self, pieces: Sequence[Piece[Feed]]) -> Deferred[Sequence[Arrays]]:
        """Return the outputs of *pieces*."""
        self._batches.append((self._name, sum(piece.rows for piece in pieces)))
        error, self.error = self.error, None
        if error is not None:
            return fail(error)
        outputs = [self._outputs(piece) for piece in pieces]
        if not self.held:
            return succeed(outputs)
        self._running.append((Deferred(), outputs))
        return self._running[-1][0]

    def release(self) -> None:
        """End the run that is held, and hold no further one."""
        self.held = False
        answer, outputs = self._running.pop()
        answer.callback(outputs)

    def _outputs(self, piece: Piece[Feed]) -> Arrays:
        signature, arrays = piece.item.signature, piece.item.arrays
        if signature.batched:
            arrays = tuple(array[piece.start : piece.stop] for array in arrays)
        compute = {each.name: it for each, it in MODELS[self._name]}[signature.name]
        return compute(*arrays)


def numpy_model(name: str, version: str, clock: Clock, lane: NumpyLane) -> ServedModel:
    """Return the model *name* of `MODELS`, which *lane* runs in batches of four rows."""
    signatures = {each.name: each for each, _ in MODELS[name]}
    queues = fake_queues(1 << 16)
    for each in signatures.values():
        queues.learn(blank_feed(each), 4 if each.batched else 1, {})
    takes_images = name in {"pets", "yes"}
    model = served_model(
        clock,
        lane,
        policy=FixedPolicy(4, 0.0),
        takes_images=takes_images,
        labels={"pets": ("cat", "dog", "eel"), "yes": ("no", "yes")}.get(name, ()),
    )
    image_input = images() if takes_images else None
    if name == "yes" and image_input is not None:
        signature = signatures["serving_default"]
        image_input = ImageInput(signature, image_input.array_of, "", two_classes=True)
    return replace(
        model,
        name=name,
        version=version,
        signatures=signatures,
        default=next(iter(signatures)),
        image_input=image_input,
        queues=queues,
    )


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
        self.lanes = {name: NumpyLane(name, self.batches) for name in MODELS}
        for name, lane in self.lanes.items():
            versions = ("2", "1") if name == "sums" else ("1",)
            served = {
                version: Inference(
                    numpy_model(name, version, self.clock, lane),
                    pool,
                    seconds=self.clock.seconds,
                )
                for version in versions
            }
            labels = {"stable": "1"} if name == "sums" else {}
            awaited = ("5",) if name == "sums" else ()
            self.models.route(name, Versions(served, versions[0], labels, awaited, ()))
        self.models.await_models({"slow": "loading"})
        self.changes = FakeRepository(*REPORTS)
        alive = Heartbeat(self.clock, lambda: (), hung=lambda: self.hung)
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
            max_body=MAX_BYTES,
            epoch=lambda: EPOCH + self.clock.seconds(),
        )
        native = Route("POST", "/native", pets.predict, pets.preflight, pets.write_error)
        self.server = WireServer(more=(*api.routes(), native), clock=self.clock)
        self.server.limits.max_body = self.server.limits.max_held = MAX_BYTES
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
