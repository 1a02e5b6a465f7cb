"""Two models and two dialects behind one router, over real channels."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import orjson
import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from batcher.error_kind import ErrorKind
from model.execution.decode_pool import DecodePool
from model.signature import Feed, FeedError
from server.api.dialect import Dialect
from server.api.inference_api import InferenceAPI
from server.api.native import NATIVE
from server.call import Call, Outputs, RequestOptions
from server.http.error_statuses import NATIVE_STATUSES, refusal_for
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route
from server.http.router import Router
from server.inference import Inference
from server.models import Models, Versions
from server.served_model import ServedModel
from tests.fakes.endpoint import inputs, scores, tensors
from tests.fakes.http import Client, request
from tests.fakes.server import ManualLane
from tests.fakes.threads import Calls, ManualThreads
from tests.fakes.wire import WireServer

pytestmark = pytest.mark.usefixtures("log")

ROWS = orjson.dumps({"rows": [[1, 2, 3, 4]]})


def read(model: ServedModel, request: HTTPRequest, options: RequestOptions) -> Call[HTTPResponse]:
    """Return the call of ``{"rows": [[...], ...]}``, answered by ``{"scores": [[...], ...]}``."""
    signature = model.signatures[model.default]
    (spec,) = signature.inputs

    def prepare() -> Feed:
        rows = orjson.loads(request.body).get("rows")
        if rows is None:
            raise FeedError("no rows")
        return model.prepare_tensors(signature, {spec.name: np.array(rows, spec.dtype)})

    def finish(outputs: Outputs) -> HTTPResponse:
        return HTTPResponse(200, orjson.dumps({"scores": outputs.arrays[0].tolist()}))

    return Call(prepare, finish, options, at_once=True)


def write_error(
    error: BaseException | None, _request_id: str, headers: Mapping[str, str]
) -> HTTPResponse:
    """Return ``{"message": ...}``, with a 503 for a busy server."""
    refusal = refusal_for(error, {**NATIVE_STATUSES, ErrorKind.OVERLOADED: 503})
    return HTTPResponse(refusal.status, orjson.dumps({"message": refusal.message}), headers)


#: A dialect whose answers and errors differ from those of the native one.
OTHER = Dialect(read, write_error)


class Zoo:
    """A server of the models cats and dogs: `POST /` and `POST /v1/models/NAME:predict`."""

    def __init__(self) -> None:
        self.models = Models()
        self.models.starting = False
        self.lanes: dict[str, ManualLane] = {}
        clock = Clock()
        pool = DecodePool(Calls(), 1, pool=ManualThreads())
        pool.start()
        for name in ("cats", "dogs"):
            self.lanes[name] = ManualLane()
            model = replace(tensors(clock, self.lanes[name]), name=name)
            inference = Inference(model, pool, clock=clock)
            self.models.route(name, Versions({model.version: inference}, model.version))
        native = InferenceAPI(lambda _: self.models.find("cats"), NATIVE, seconds=clock.seconds)
        other = InferenceAPI(self._named, OTHER, seconds=clock.seconds)
        route = Route(
            "POST",
            "/v1/models/*",
            other.predict,
            operations=(),
            preflight=other.preflight,
            write_error=other.write_error,
        )
        self.server = WireServer(endpoint=native.predict, more=(route,))

    def _named(self, head: Head) -> Inference:
        return self.models.find(head.rest.removesuffix(":predict"))

    def post(self, path: str, body: bytes) -> Client:
        """Send *body* to *path*, and return the client."""
        client = self.server.connect()
        client.send(request("POST", path, body, {"Content-Type": "application/json"}))
        return client


@pytest.mark.parametrize(
    ("path", "ignores_case", "rest"),
    [
        ("/v1/models/a%2Fb:predict", False, None),  # Klein finds its route
        ("/v1/models/a%2Fb:predict", True, "a%2Fb:predict"),
        ("/V1/Models/a:Predict", True, "a:Predict"),
        ("/V1/models/a", False, None),
        ("/v1/model/a", True, None),
        ("/x/v1/models/a", True, None),
    ],
)
def test_a_prefix_is_matched_in_the_case_that_its_route_requires(
    path: str, ignores_case: bool, rest: str | None
) -> None:
    """The rest of the path stays as the client sent it."""
    route = Route(
        "GET",
        "/v1/models/*",
        lambda _: succeed(HTTPResponse(200, b"")),
        operations=(),
        ignores_case=ignores_case,
    )
    match = Router([route]).match(b"GET", path.encode())
    assert (match and match.rest) == rest


def test_each_dialect_asks_for_a_model_in_its_own_way() -> None:
    """The run, the answer and the name in its head are those of the model that was asked for."""
    zoo = Zoo()
    named = zoo.post("/v1/models/dogs:predict", ROWS)
    default = zoo.post("/", inputs([5, 6, 7, 8]))
    assert [feed.arrays[0].tolist() for feed in zoo.lanes["dogs"].batches[0]] == [[[1, 2, 3, 4]]]
    assert [feed.arrays[0].tolist() for feed in zoo.lanes["cats"].batches[0]] == [[[5, 6, 7, 8]]]
    zoo.lanes["dogs"].give(scores([1, 2]))
    zoo.lanes["cats"].give(scores([3, 4]))
    assert named.answer.json() == {"scores": [[1.0, 2.0]]}
    assert default.answer.json() == {"outputs": {"y": [[3.0, 4.0]]}}
    names = [client.answer.headers["x-model-version"] for client in (named, default)]
    assert names == ["dogs/7", "cats/7"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/birds:predict", ROWS, 404,
            "no model 'birds' is served; there are: cats, dogs"),
        ("/v1/models/dogs:predict", b"{}", 400, "no rows"),
        ("/v1/models/dogs:predict", b"x" * 101, 413, "the body is 101 bytes, the limit is 100"),
    ],
)  # fmt: skip
def test_errors_have_the_form_of_the_route(
    path: str, body: bytes, status: int, message: str
) -> None:
    """Whether the route, the model, the dialect or the limits of all connections refuse."""
    client = Zoo().post(path, body)
    assert (client.answer.status, client.answer.json()) == (status, {"message": message})
