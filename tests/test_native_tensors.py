"""The native dialect, `POST /` with JSON: server/api/native.py."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from batcher.errors import RunFailed
from batcher.policy import FixedPolicy
from model.backends.tensorflow.image_inputs import encoded_image_input
from model.execution.decode_pool import DecodePool
from model.execution.queues import Queues
from model.signature import STRING, Feed, FeedError, Signature, TensorSpec, blank_feed
from server.api.dialect import InferenceAPI
from server.api.native import NATIVE, encode_result, is_json, tensor_feed
from server.http.messages import HTTPResponse
from server.inference import Inference, Outputs, Prediction, ServedModel
from tests.fakes.http import http_request
from tests.fakes.server import LABELS, SIGNATURE, Log, ManualLane, served_model
from tests.fakes.threads import Calls, ManualThreads, kinds, outcomes
from tests.images import claims, coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=edge"}
FORM_BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n'
    + IMAGE
    + b"\r\n--edge--\r\n"
)

X = TensorSpec("x", np.dtype(np.float32), (None, 4))
ROWS = Signature((X,), (TensorSpec("y", np.dtype(np.float32), (None, 2)),))
#: A signature with one output of each kind, which runs alone.
MIXED = Signature(
    (TensorSpec("a", np.dtype(np.int32), ()), TensorSpec("b", STRING, (2,))),
    (TensorSpec("known", np.dtype(bool), ()), TensorSpec("names", STRING, (2,))),
    "mixed",
    alone="input 'a' is int32[]: no batch axis of any size",
)

pytestmark = pytest.mark.usefixtures("log")


def tensors(
    clock: Clock, lane: ManualLane, *, labels: tuple[str, ...] = (), max_queue_bytes: int = 128
) -> ServedModel:
    """Return a model of numbers, with a queue of eight rows and batches of four."""
    queues = Queues(max_queue_bytes)
    queues.learn(blank_feed(ROWS), 4, {})
    queues.learn(blank_feed(MIXED), 1, {})
    return replace(
        served_model(clock, lane, policy=FixedPolicy(4, 0.0), takes_images=False, labels=labels),
        signatures={ROWS.name: ROWS, MIXED.name: MIXED},
        samples={ROWS.name: blank_feed(ROWS)},
        queues=queues,
    )


@dataclass
class EndpointFixture:
    """The endpoint with a model whose decode thread and lane are stepped by the test."""

    clock: Clock = field(default_factory=Clock)
    lane: ManualLane = field(default_factory=ManualLane)
    threads: ManualThreads = field(default_factory=ManualThreads)
    calls: Calls = field(default_factory=Calls)
    model: ServedModel | None = None

    def __post_init__(self) -> None:
        """Start the pool."""
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=self.clock.seconds)
        pool.start()
        inference = Inference(
            self.model or tensors(self.clock, self.lane), pool, seconds=self.clock.seconds
        )
        self.api = InferenceAPI(lambda: inference, NATIVE, seconds=self.clock.seconds)

    def decode(self) -> None:
        """Run all jobs of the decode thread."""
        while self.threads.queue:
            self.threads.step()
        self.calls.drain()

    def posted(self, body: bytes, headers: Mapping[str, str] = JSON, **given: Any) -> list[object]:
        """Post *body*, decode it, and return the list for its result."""
        fired = outcomes(self.api.predict(http_request(body, headers=headers, **given)))
        self.decode()
        return fired

    def refusal(
        self, body: bytes, headers: Mapping[str, str] = JSON, **given: Any
    ) -> tuple[int, str]:
        """Return the status and the message with which *body* is refused, without a run."""
        response = the_response(self.posted(body, headers, **given))
        assert self.lane.batches == []
        content = orjson.loads(response.body)
        assert (content["status"], content["request_id"]) == (response.status, "the-id")
        assert response.headers["X-Model-Version"] == "pets/7"
        assert content["error"].isprintable()
        return response.status, content["error"]


def the_response(fired: list[object]) -> HTTPResponse:
    """Return the only result."""
    (response,) = fired
    assert isinstance(response, HTTPResponse)
    return response


def inputs(*rows: list[float]) -> bytes:
    """Return a request of these rows."""
    return orjson.dumps({"inputs": {"x": rows}})


def scores(*rows: list[float]) -> tuple[np.ndarray]:
    """Return the output of the model."""
    return (np.array(rows, np.float32),)


# --- answers


def test_json_in_is_json_out() -> None:
    """Each output by its name, all rows of the request in it, and the times in the header."""
    fixture = EndpointFixture()
    fired = fixture.posted(inputs([1, 2, 3, 4], [5, 6, 7.5, 8]))
    ((feed,),) = fixture.lane.batches
    assert feed.signature is ROWS
    (array,) = feed.arrays
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2, 3, 4], [5, 6, 7.5, 8]]
    fixture.lane.give(scores([0.5, 1 / 3], [1e-7, 4]))
    response = the_response(fired)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.body == b'{"outputs":{"y":[[0.5,0.33333334],[1e-7,4.0]]}}\n'
    assert dict(response.headers) == {
        "X-Model-Version": "pets/7",
        "Server-Timing": "decode;dur=0.000, queue;dur=0.000, run;dur=0.000, encode;dur=0.000, "
        'batch;desc="2/4 fixed"',
    }


def test_a_request_with_more_rows_than_a_batch_is_split() -> None:
    """And its outputs are in the order of its rows."""
    fixture = EndpointFixture()
    fired = fixture.posted(inputs(*([float(row), 0, 0, 0] for row in range(6))))
    fixture.lane.give(scores(*([float(row), 0] for row in range(4))))
    assert fired == []
    fixture.lane.give(scores(*([float(row), 0] for row in range(4, 6))))
    response = the_response(fired)
    assert orjson.loads(response.body)["outputs"]["y"] == [[row, 0] for row in range(6)]
    batches = 'batch;desc="4/4 full", batch;desc="2/4 fixed"'
    assert response.headers["Server-Timing"].endswith(batches)


def test_a_signature_is_named_and_may_run_alone() -> None:
    """With outputs of any dtype."""
    fixture = EndpointFixture()
    body = {"signature_name": "mixed", "inputs": {"b": ["x", {"b64": "/w=="}], "a": 7}}
    fired = fixture.posted(orjson.dumps(body))
    ((feed,),) = fixture.lane.batches
    assert feed.signature is MIXED
    assert [array.tolist() for array in feed.arrays] == [7, [b"x", b"\xff"]]
    fixture.lane.give((np.array(True), np.array([b"a", b"\xff\0"], STRING)))
    answer = orjson.loads(the_response(fired).body)
    assert answer == {"outputs": {"known": True, "names": ["a", {"b64": "/wA="}]}}


def test_nan_and_infinities_are_null() -> None:
    """JSON has neither."""
    y = TensorSpec("y", np.dtype(np.float32), (None, 3))
    array = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    result = Outputs(Signature((X,), (y,)), (array,))
    assert encode_result(result) == b'{"outputs":{"y":[[null,null,null]]}}\n'
    assert encode_result(Prediction([("cat", np.float32("nan"))])) == b'[["cat",null]]\n'


def test_the_sample_of_a_refusal_is_answered() -> None:
    """Copied from the message without a change."""
    fixture = EndpointFixture()
    _, error = fixture.refusal(IMAGE, {})
    fired = fixture.posted(error[error.index("{") :].encode())
    fixture.lane.give(scores([0, 0]))
    assert the_response(fired).status == 200


# --- what is JSON


@pytest.mark.parametrize(
    ("body", "kind", "json"),
    [
        (b"{}", None, True),
        (b"{}", "application/x-www-form-urlencoded", True),  # what curl -d sends
        (b"{}", "text/plain", True),
        (b"{}", "image/png", True),
        (b" \t\r\n{}", None, True),
        (b"\n" * 63 + b"{", None, True),
        (b"[1]", None, False),
        (b"[1]", "application/json", True),
        (b"1", "application/json; charset=utf-8", True),
        (IMAGE, "Application/JSON", True),
        (b"", "application/json", True),
        (b"", None, False),
        (IMAGE, None, False),
        (IMAGE, "application/octet-stream", False),
        (FORM_BODY, FORM["content-type"], False),
        (b"\xff\xd8\xff{", None, False),
        (b"\xef\xbb\xbf {}", None, True),
        (" {}".encode("utf-16"), None, True),
        ("{}".encode("utf-16-le"), None, True),
        ("{}".encode("utf-32-be"), None, True),
        (FORM_BODY, "application/json", False),
    ],
)
def test_a_body_is_json_by_its_type_or_its_first_brace(
    body: bytes, kind: str | None, json: bool
) -> None:
    """No image begins with a brace."""
    headers = {} if kind is None else {"content-type": kind}
    assert is_json(http_request(body, headers=headers)) == json


@pytest.mark.parametrize(
    "headers", [JSON, {}, {"content-type": "application/x-www-form-urlencoded"}]
)
def test_json_is_read_under_any_content_type(headers: dict[str, str]) -> None:
    """With white space before it, too."""
    fixture = EndpointFixture()
    fixture.posted(b" \n" + inputs([1, 2, 3, 4]), headers)
    assert len(fixture.lane.batches) == 1


@pytest.mark.parametrize("headers", [JSON, {}])
def test_json_is_read_after_a_byte_order_mark(headers: dict[str, str]) -> None:
    """As editors on Windows write it."""
    fixture = EndpointFixture()
    fixture.posted(b"\xef\xbb\xbf" + inputs([1, 2, 3, 4]), headers)
    assert len(fixture.lane.batches) == 1


# --- what is refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty: post an image, "),
        (b"{", "the body is no JSON: "),
        (b"[[1, 2, 3, 4]]", "the body: expected an object, got a list"),
        (b"null", "the body: expected an object, got null"),
        (b"{}", "the body has no key 'inputs'"),
        (b'{"instances": []}', "unknown key 'instances': the body takes inputs, signature_name"),
        (IMAGE, "the body is no JSON: "),
        (b"\xef\xbb\xbf{}", "the body has no key 'inputs'"),
        ("{}".encode("utf-16"), "the body is JSON in UTF-16; send it in UTF-8"),
        ("{}".encode("utf-16-be"), "the body is JSON in UTF-16-BE; send it in UTF-8"),
        ("{}".encode("utf-32"), "the body is JSON in UTF-32; send it in UTF-8"),
        (b'{"b64": "AAAA"}', "unknown key 'b64': the body takes inputs, signature_name"),
        (b'{"inputs": {"z": 1}}', "unknown input 'z': the model takes x"),
        (b'{"inputs": {}}', "input 'x' is missing: expected float32[?, 4]"),
        (b'{"inputs": {"x": [1]}}', "input 'x': expected float32[?, 4], got float32[1]"),
        (b'{"inputs": {"x": []}}', "input 'x': expected float32[?, 4], got float32[0]"),
        (inputs([1, 2, 3]), "input 'x': expected float32[?, 4], got float32[1, 3]"),
        (inputs([1], [2, 3]), "input 'x' at [1]: the lists are ragged"),
        (b'{"inputs": {"x": [["1", 2, 3, 4]]}}', "input 'x' at [0, 0]: expected numbers "),
        (b'{"inputs": {"x": [[1, 2, 3, NaN]]}}', "the body is no JSON: "),
        (b'{"inputs": {"x": ' + b"[" * 2000, "the body is no JSON: "),
        (
            b'{"inputs": 1, "signature_name": "predict"}',
            "unknown signature 'predict': the model has serving_default, mixed",
        ),
        (
            b'{"inputs": 1, "signature_name": "' + b"x" * 999 + b'"}',
            f"unknown signature '{'x' * 80}': the model has serving_default, mixed",
        ),
        (b'{"inputs": 1, "signature_name": null}', "signature_name: expected a string, got null"),
        (
            b'{"inputs": [1], "signature_name": "mixed"}',
            "inputs: expected an object of 2 names, got a list",
        ),
    ],
)
def test_the_error_names_what_does_not_fit(body: bytes, message: str) -> None:
    """With a 400, and without a run."""
    status, error = EndpointFixture().refusal(body)
    assert status == 400
    assert error.startswith(message)


@pytest.mark.parametrize("query", [{"k": ("1",)}, {"k": ("0",)}])
@pytest.mark.parametrize("labels", [(), LABELS])
def test_json_is_answered_without_labels(
    query: dict[str, tuple[str, ...]], labels: tuple[str, ...]
) -> None:
    """Whether the model has labels or not."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=tensors(clock, lane, labels=labels))
    status, error = fixture.refusal(inputs([1, 2, 3, 4]), query=query)
    assert (status, error) == (400, "k: there are no labels to choose from")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({**JSON, "content-encoding": "gzip"}, 415, "Content-Encoding 'gzip' is not read here"),
        ({**JSON, "x-request-timeout-ms": "soon"}, 400, "X-Request-Timeout-Ms: expected "),
    ],
)
def test_the_headers_of_json_are_checked_too(
    headers: dict[str, str], status: int, message: str
) -> None:
    """Before the body is decoded."""
    fixture = EndpointFixture()
    got, error = fixture.refusal(inputs([1, 2, 3, 4]), headers)
    assert got == status
    assert error.startswith(message)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (IMAGE, {}),
        (IMAGE, {"content-type": "image/png"}),
        (FORM_BODY, FORM),
        (FORM_BODY.replace(b'"data"', b'"upload"'), FORM),
        (FORM_BODY, {"content-type": "multipart/form-data"}),
        (b"[[1, 2, 3, 4]]", {}),
        (b"[[1, 2, 3, 4]]", {"content-type": "text/plain"}),
        (b"x=1&y=2", {"content-type": "application/x-www-form-urlencoded"}),
    ],
    ids=["bare", "typed", "form", "other field", "no boundary", "list", "text", "urlencoded"],
)
def test_the_error_for_other_bodies_has_a_sample(body: bytes, headers: dict[str, str]) -> None:
    """For a model of tensors, an image in any form is an error."""
    status, error = EndpointFixture().refusal(body, headers)
    assert status == 415
    assert error.startswith("this model takes tensors, no images; post JSON such as ")
    assert error.endswith(' {"inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}')


def test_more_rows_than_the_queue_holds_are_refused() -> None:
    """Like rows for a full queue."""
    fixture = EndpointFixture()
    status, error = fixture.refusal(inputs(*([[0.0] * 4] * 9)))
    assert status == 429
    assert "9" in error
    fixture.posted(inputs([1, 2, 3, 4]))
    fired = [fixture.posted(inputs(*([[0.0] * 4] * 4))) for _ in range(3)]
    assert [len(each) for each in fired] == [0, 0, 1]
    response = the_response(fired[2])
    assert (response.status, response.headers["Retry-After"]) == (429, "1")


# --- time


def test_a_deadline_holds_for_json() -> None:
    """From the head on, in the queue for a decode thread and in that for a lane."""
    fixture = EndpointFixture()
    headers = {**JSON, "x-request-timeout-ms": "2000"}
    fixture.posted(inputs([1, 2, 3, 4]))
    waiting = fixture.posted(inputs([1, 2, 3, 4]), headers)
    unread = outcomes(fixture.api.predict(http_request(inputs([1, 2, 3, 4]), headers=headers)))
    fixture.clock.advance(2)
    assert the_response(waiting).status == 504
    fixture.clock.advance(1)
    fixture.decode()
    assert the_response(unread).status == 504
    assert len(fixture.lane.batches) == 1


def test_a_hang_up_removes_json_from_its_queue() -> None:
    """Before decoding, or before its run."""
    fixture = EndpointFixture()
    fixture.posted(inputs([1, 2, 3, 4]))
    gone: list[Deferred[None]] = [Deferred(), Deferred()]
    fired = fixture.posted(inputs([5, 6, 7, 8]), disconnected=gone[0])
    request = http_request(inputs([5, 6, 7, 8]), disconnected=gone[1])
    unread = outcomes(fixture.api.predict(request))
    for disconnected in gone:
        disconnected.callback(None)
    assert kinds(fired) == kinds(unread) == [CancelledError]
    fixture.decode()
    fixture.lane.give(scores([0, 0]))
    assert len(fixture.lane.batches) == 1


def test_a_failed_run_is_an_error_of_the_server(log: Log) -> None:
    """Logged with the request's id."""
    fixture = EndpointFixture()
    fired = fixture.posted(inputs([1, 2, 3, 4]))
    fixture.lane.fail(ValueError("bad op"))
    assert the_response(fired).status == 500
    (line,) = log.flush(RunFailed)
    assert line.startswith("request the-id failed")


# --- images without labels


def test_images_without_labels_are_answered_with_tensors() -> None:
    """Those of the signature that images run as."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane, labels=()))
    for body, headers in ((IMAGE, {}), (FORM_BODY, FORM)):
        fired = fixture.posted(body, headers)
        ((feed,),) = fixture.lane.batches
        assert feed.signature is SIGNATURE
        fixture.lane.finish([0.5, 0.25, 1.0])
        assert the_response(fired).body == b'{"outputs":{"scores":[[0.5,0.25,1.0]]}}\n'
        fixture.lane.batches.clear()
    assert fixture.refusal(IMAGE, {}, query={"k": ("1",)}) == (
        400,
        "k: there are no labels to choose from",
    )
    assert fixture.refusal(b"no image", {})[0] == 400


def test_a_model_of_images_takes_json_beside_them() -> None:
    """With pixels as its inputs."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane))
    fired = fixture.posted(orjson.dumps({"inputs": [np.zeros((4, 4, 3), int).tolist()]}))
    fixture.lane.finish([0.5, 0.25, 1.0])
    assert the_response(fired).body == b'{"outputs":{"scores":[[0.5,0.25,1.0]]}}\n'


def test_a_model_of_images_refuses_text() -> None:
    """The error names what to post."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane))
    status, error = fixture.refusal(b"hello", {"content-type": "text/plain"})
    assert (status, error) == (415, "text/plain is not read here; post an image or JSON")


FILES, TEXTS = (
    Signature(
        (TensorSpec("file", STRING, (None,)),),
        (TensorSpec("scores", np.dtype(np.float32), (None, 3)),),
        name,
    )
    for name in ("files", "texts")
)


def encoded_b64(image: bytes) -> dict[str, str]:
    """Return an image file as a JSON object with b64."""
    return {"b64": b64encode(image).decode()}


@pytest.mark.parametrize(
    ("strings", "name", "status"),
    [
        ([encoded_b64(IMAGE)], "files", None),
        ([encoded_b64(IMAGE), encoded_b64(IMAGE)], "files", None),
        (["text"], "files", 400),
        ([encoded_b64(IMAGE), encoded_b64(IMAGE[:20])], "files", 400),
        ([encoded_b64(IMAGE), encoded_b64(claims("PNG", 30_000, 30_000))], "files", 413),
        (["text"], "texts", None),
    ],
)
def test_a_model_decodes_no_more_of_json_than_of_a_posted_image(
    strings: list[object], name: str, status: int | None
) -> None:
    """For the signature that images run as; other strings are not checked."""
    clock, lane = Clock(), ManualLane()
    queues = Queues(800)
    for each in (FILES, TEXTS):
        queues.learn(blank_feed(each), 4, {})
    model = replace(
        served_model(clock, lane, policy=FixedPolicy(4, 0.0)),
        signatures={FILES.name: FILES, TEXTS.name: TEXTS},
        default=FILES.name,
        image_input=encoded_image_input(FILES, 1000),
        queues=queues,
    )
    fixture = EndpointFixture(clock, lane, model=model)
    body = orjson.dumps({"inputs": {"file": strings}, "signature_name": name})
    if status is None:
        assert fixture.posted(body) == []
        assert len(lane.batches) == 1
    else:
        assert fixture.refusal(body)[0] == status


def test_a_feed_is_made_for_the_signature_that_is_named() -> None:
    """Else for the default signature."""
    model = tensors(Clock(), ManualLane())
    assert isinstance(feed := tensor_feed(model, inputs([1, 2, 3, 4])), Feed)
    assert feed.signature is ROWS
    with pytest.raises(FeedError, match="unknown signature 'Serving_default': the model has "):
        tensor_feed(model, b'{"inputs": 1, "signature_name": "Serving_default"}')
