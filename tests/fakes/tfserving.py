"""TensorFlow Serving's routes on a server without sockets, with small models of numpy."""

import hashlib
from collections.abc import Sequence

import numpy as np
from twisted.internet.task import Clock

from model.execution.decode_pool import DecodePool
from model.signature import STRING, Arrays, Signature, TensorSpec, reason_to_run_alone
from server.api.coded_routes import CodedRoutes
from server.api.tfserving.api import TFServingAPI
from server.http.error_statuses import HTTPError
from server.http.limits import BodyLimits
from server.inference import Inference
from server.models import Models, Versions
from server.repository.version_report import ModelReport, VersionReport
from server.served_model import ServedModel
from tests.fakes.http import Answer, Client, request
from tests.fakes.numpy_models import Models as NumpyModels
from tests.fakes.numpy_models import NumpyLane, numpy_model, spec
from tests.fakes.server import SIGNATURE
from tests.fakes.tables import Pair
from tests.fakes.threads import Calls, ManualThreads
from tests.fakes.wire import WireServer

#: The most bytes of a body.
MAX_BYTES = 1 << 16


def signature(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], name: str = "serving_default"
) -> Signature:
    """Return the signature with these tensors."""
    return Signature(
        tuple(inputs), tuple(outputs), name, alone=reason_to_run_alone(inputs, outputs)
    )


def _lengths(strings: np.ndarray) -> np.ndarray:
    return np.array([[len(each)] for each in strings.reshape(-1)], np.float32)


def _digests(strings: np.ndarray) -> np.ndarray:
    digests = [hashlib.sha256(each).hexdigest()[:8].encode() for each in strings.reshape(-1)]
    return np.array(digests, STRING).reshape(-1, 1)


def _classes(*arrays: np.ndarray) -> Arrays:
    (strings,) = arrays
    lengths = _lengths(strings)
    classes = np.array([[b"long", b"short"]] * len(lengths), STRING)
    return classes, np.concatenate([lengths, -lengths], axis=1)


def _features(age: np.ndarray, name: np.ndarray) -> Arrays:
    classes = np.array([[each] for each in name.reshape(-1)], STRING)
    return classes, age.reshape(-1, 1).astype(np.float32)


_ECHOED = ("int8", "int32", "int64", "uint8", "uint64", "bool", "float16", "float64", "float32")
_SCALAR = TensorSpec("x", np.dtype(np.float32), ())
_WORDS = (spec("s", "string"),)
_EXAMPLES = (spec("inputs", "string"),)

#: The signatures of each model, and what each computes.
MODELS: NumpyModels = {
    "rows": [
        (
            signature([spec("x", "float32", 3)], [spec("y", "float32", 2)]),
            lambda x: (x[:, :2] / np.float32(2),),
        ),
        (
            signature([spec("x", "float32")], [spec("y", "float32")], "numbers"),
            lambda x: (x / 2 + 2,),
        ),
        (
            signature([spec("x", "float32", 2, 2)], [spec("y", "float32", 2, 2)], "matrices"),
            lambda x: (x,),
        ),
        (
            signature([spec("x", "float32", None)], [spec("sum", "float32")], "long"),
            lambda x: (x.sum(axis=1),),
        ),
    ],
    "several": [
        (
            signature(
                [spec("b", "int32"), spec("a", "float32", 2)],
                [spec("sum", "float32", 2), spec("twice", "int32")],
            ),
            lambda b, a: (a + b[:, np.newaxis].astype(np.float32), b * 2),
        ),
    ],
    "types": [
        (signature([spec("x", dtype)], [spec("y", dtype)], dtype), lambda x: (x,))
        for dtype in _ECHOED
    ],
    "words": [
        (
            signature(_WORDS, [spec("s", "string"), spec("s_bytes", "string")]),
            lambda s: (s, s),
        ),
        (signature(_WORDS, [spec("out_bytes", "string")], "bytes"), lambda s: (s,)),
        (
            signature([spec("x", "float32", 1)], [spec("y", "float32", 1)], "half_plus_two"),
            lambda x: (x / 2 + 2,),
        ),
        (signature(_WORDS, [spec("out", "string")], "plain"), lambda s: (s,)),
    ],
    "odd": [
        (Signature((_SCALAR,), (TensorSpec("y", np.dtype(np.float32), ()),), alone="scalar"),
            lambda x: (x,)),
        (Signature((_SCALAR,), (spec("y", "float32"), spec("z", "float32")), "uneven",
            alone="scalar"), lambda _: (np.zeros(2, np.float32), np.zeros(3, np.float32))),
        (Signature((), (spec("y", "float32"),), "nothing", alone="it has no inputs"),
            lambda: (np.zeros(1, np.float32),)),
        (signature([spec("x", "float32")], [spec("y", "complex64")], "complex"), lambda x: (x,)),
        (Signature((TensorSpec("x", np.dtype(np.float32), None),), (spec("y", "float32"),), "any",
            alone="any shape"), lambda x: (np.atleast_1d(x),)),
    ],
    "examples": [
        (
            signature(_EXAMPLES, [spec("classes", "string", 2), spec("scores", "float32", 2)]),
            _classes,
        ),
        (signature(_EXAMPLES, [spec("outputs", "float32", 1)], "regression"),
            lambda s: (_lengths(s),)),
        (signature(_EXAMPLES, [spec("outputs", "float32")], "flat"),
            lambda s: (_lengths(s)[:, 0],)),
        (signature(_EXAMPLES, [spec("outputs", "float32", 2)], "wide"),
            lambda s: (np.repeat(_lengths(s), 2, 1),)),
        (signature(_EXAMPLES, [spec("scores", "float32", 1)], "scores"), lambda s: (_lengths(s),)),
        (signature(_EXAMPLES, [spec("classes", "string", 1)], "digests"),
            lambda s: (_digests(s),)),
        (signature(_EXAMPLES, [spec("scores", "float64", 1)], "doubles"),
            lambda s: (_lengths(s).astype(np.float64),)),
        (signature(_EXAMPLES, [spec("outputs", "int32", 1)], "whole"),
            lambda s: (_lengths(s).astype(np.int32),)),
        (signature(_EXAMPLES, [spec("classes", "int32", 1)], "numbered"),
            lambda s: (_lengths(s).astype(np.int32),)),
        (signature(_EXAMPLES, [spec("scores", "float32")], "short"),
            lambda s: (_lengths(s)[:, 0],)),
        (
            signature(
                [spec("age", "float32", 1), spec("name", "string")],
                [spec("classes", "string", 1), spec("scores", "float32", 1)],
                "features",
            ),
            _features,
        ),
        (signature([spec("age", "float32")], [spec("outputs", "float32")], "age"),
            lambda age: (age * 2,)),
    ],
    "pets": [(SIGNATURE, lambda images: (images.reshape(len(images), -1)[:, :3] / np.float32(2),))],
}  # fmt: skip


def _model(name: str, version: str, clock: Clock) -> ServedModel:
    lane = NumpyLane(name, MODELS, [])
    takes_images = name == "pets"
    return numpy_model(
        name, version, MODELS, lane, clock, max_queue_bytes=1 << 10, takes_images=takes_images
    )


#: The states of the versions of the model "pets", as reports have them.
STATES = (
    VersionReport("8", "loading"),
    VersionReport("7", "serving", labels=("stable",)),
    VersionReport("6", "failed", "no graph"),
    VersionReport("5", "draining"),
    VersionReport("4", "incomplete", "no saved_model.pb"),
    VersionReport("3", "waiting"),
    VersionReport("2", "not served"),
    VersionReport("1", "serving"),
)


class FakeReports:
    """The reports of some models."""

    def __init__(self, reports: Sequence[ModelReport]) -> None:
        self._by_name = {report.name: report for report in reports}

    def reports(self) -> list[ModelReport]:
        """Return all reports, in the order of the names."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def report(self, name: str) -> ModelReport:
        """Return the report of the model *name*."""
        if name not in self._by_name:
            raise HTTPError(404, f"no model {name!r}")
        return self._by_name[name]


class TFServingServer:
    """The routes, with the models of `MODELS`, and one that is loaded."""

    def __init__(self) -> None:
        clock = Clock()
        self.threads, self._calls = ManualThreads(), Calls()
        pool = DecodePool(self._calls, 1, pool=self.threads, clock=clock.seconds)
        pool.start()
        self.models = Models(lambda: "loading")
        self.models.starting = False
        reports = [
            ModelReport("slow", (VersionReport("1", "loading"),), None),
            ModelReport("gone", (), None),
        ]
        for name in MODELS:
            versions = ("7", "1") if name == "pets" else ("1",)
            by_version = {
                version: Inference(_model(name, version, clock), pool, clock=clock)
                for version in versions
            }
            labels = {"stable": versions[0]}
            awaited = ("8",) if name == "pets" else ()
            self.models.route(name, Versions(by_version, versions[0], labels, awaited))
            states = STATES if name == "pets" else (VersionReport("1", "serving"),)
            reports.append(ModelReport(name, states, versions[0], labels))
        self.models.await_models({"slow": "loading"})
        api = TFServingAPI(
            self.models,
            FakeReports(reports),
            pool,
            max_bytes=MAX_BYTES,
            seconds=clock.seconds,
        )
        limits = BodyLimits(max_body=MAX_BYTES, max_held=MAX_BYTES)
        routes = CodedRoutes(pool, limits).coded(*api.routes())
        self.server = WireServer(more=routes, body_limits=limits)

    def send(self, pair: Pair) -> Client:
        """Send the request of *pair*; return its client once it is answered."""
        client = self.server.connect()
        client.send(request(pair.method, pair.path, pair.sent, pair.sent_headers))
        self.work()
        return client

    def work(self) -> None:
        """Let the decode thread do all its jobs."""
        while self.threads.queue:
            self.threads.step()
            self._calls.drain()

    def answer(self, pair: Pair) -> Answer:
        """Send the request of *pair*, and return its answer."""
        return self.send(pair).answer
