"""The native dialect, `POST /` with JSON: server/api/native.py."""

import numpy as np
import orjson
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from batcher.errors import RunFailed
from model.signature import STRING, Signature, TensorSpec
from server.api.native import (
    MAX_BYTES_READ_AT_ONCE,
    content_type_of,
    encode_labels,
    encode_outputs,
    is_json,
)
from server.call import Outputs
from tests.fakes.endpoint import (
    FORM,
    FORM_BODY,
    IMAGE,
    JSON,
    MIXED,
    ROWS,
    EndpointFixture,
    X,
    inputs,
    scores,
    tensors,
    the_response,
)
from tests.fakes.http import http_request
from tests.fakes.server import LABELS, Log, ManualLane
from tests.fakes.threads import kinds, outcomes

#: A request that is read on a decode thread.
LARGE = inputs([1, 2, 3, 4]).ljust(MAX_BYTES_READ_AT_ONCE + 1)

pytestmark = pytest.mark.usefixtures("log")


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
    assert encode_outputs(result) == b'{"outputs":{"y":[[null,null,null]]}}\n'
    assert encode_labels([("cat", np.float32("nan"))]) == b'[["cat",null]]\n'


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
    assert is_json(body, content_type_of(http_request(headers=headers))) == json


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
        (inputs([1], [2, 3]), "input 'x' at [1]: the lists differ in length or depth"),
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
def test_the_error_names_what_does_not_fit(
    body: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a 400, and without a run; the answers of both threads are equal."""
    answers: list[object] = []
    for bound in (0, 1 << 16):
        monkeypatch.setattr("server.api.native.MAX_BYTES_READ_AT_ONCE", bound)
        fixture = EndpointFixture()
        status, error = fixture.refusal(body)
        assert status == 400
        assert error.startswith(message)
        answers.append(the_response(fixture.posted(body)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("query", [{"k": ("1",)}, {"k": ("0",)}])
@pytest.mark.parametrize("labels", [(), LABELS])
def test_json_is_answered_without_labels(
    query: dict[str, tuple[str, ...]], labels: tuple[str, ...]
) -> None:
    """Whether the model has labels or not."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=tensors(clock, lane, labels=labels))
    status, error = fixture.refusal(inputs([1, 2, 3, 4]), query=query)
    assert (status, error) == (400, "k: this model has no labels")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({**JSON, "content-encoding": "gzip"}, 415, "Content-Encoding 'gzip' is not supported"),
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


# --- threads


@pytest.mark.parametrize(("size", "jobs"), [(0, 0), (MAX_BYTES_READ_AT_ONCE, 0), (2049, 1)])
def test_a_small_body_is_read_without_a_decode_thread(size: int, jobs: int) -> None:
    """The change of threads would take longer than to read it."""
    fixture = EndpointFixture()
    fixture.api.predict(http_request(inputs([1, 2, 3, 4]).ljust(size), headers=JSON))
    assert len(fixture.threads.queue) == jobs
    assert len(fixture.lane.batches) == 1 - jobs
    fixture.decode()
    assert len(fixture.lane.batches) == 1


# --- time


def test_a_deadline_holds_for_json() -> None:
    """From the head on, in the queue for a decode thread and in that for a lane."""
    fixture = EndpointFixture()
    headers = {**JSON, "x-request-timeout-ms": "2000"}
    fixture.posted(inputs([1, 2, 3, 4]))
    waiting, unread = (
        outcomes(fixture.api.predict(http_request(body, headers=headers)))
        for body in (inputs([1, 2, 3, 4]), LARGE)
    )
    fixture.clock.advance(2)
    assert the_response(waiting).status == 504
    fixture.clock.advance(1)
    fixture.decode()
    assert the_response(unread).status == 504
    assert len(fixture.lane.batches) == 1


def test_a_cancelled_request_leaves_its_queue() -> None:
    """Before decoding, or before its run."""
    fixture = EndpointFixture()
    fixture.posted(inputs([1, 2, 3, 4]))
    answers = [
        fixture.api.predict(http_request(body, headers=JSON))
        for body in (inputs([5, 6, 7, 8]), LARGE)
    ]
    fired = [outcomes(answer) for answer in answers]
    for answer in answers:
        answer.cancel()
    assert [kinds(each) for each in fired] == [[CancelledError]] * 2
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
