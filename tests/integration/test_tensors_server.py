"""A frozen graph that takes rows of numbers, served over HTTP."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pytest

from model.signature import Signature, TensorSpec, blank_feed
from server.api.samples import sample_command, sample_request
from tests.images import coloured, encoded
from tests.integration.clients import Answer, form, post, read_answer
from tests.integration.graphs import SCORES, Graphs
from tests.integration.servers import serving

JSON = {"Content-Type": "application/json"}
CURL = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
IMAGE = encoded(coloured(16, 16), "PNG")
SAMPLE = '{"inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}'

#: Bytes of the queue, whose rows have 16 bytes, and limit of a body.
QUEUE_BYTES = 1 << 16

MODEL_TOML = """
name = "sums"
version = 3
input = "x:0"
output = "final_result"
"""


def sums_and_logarithms(tf: ModuleType) -> None:
    """Make a graph that returns the sum of each row, and the logarithm of its first number."""
    rows = tf.placeholder(tf.float32, (None, 4), name="x")
    columns = [tf.reduce_sum(rows, axis=1), tf.log(rows[:, 0])]
    tf.stack(columns, axis=1, name=SCORES)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server for the folder of a model."""
    folder = tmp_path_factory.mktemp("model")
    Graphs(folder).write(sums_and_logarithms)
    (folder / "model.toml").write_text(MODEL_TOML)
    options = ("--lanes", "1", "--max-batch-size", "4", "--max-queue-bytes", str(QUEUE_BYTES))
    cache = tmp_path_factory.mktemp("cache")
    with serving("--model", ".", *options, cache_home=cache, folder=folder) as server:
        yield server.port


def ask(port: int, body: object, headers: dict[str, str] | None = None, **given: str) -> Answer:
    """Post *body*, encoded as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return post(port, data, headers=JSON if headers is None else headers, **given)


def fetched(port: int, path: str = "/status", method: str = "GET") -> Answer:
    """Request *path* without a body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path)
        return read_answer(connection.getresponse(), 0.0)
    finally:
        connection.close()


def outputs(answer: Answer) -> Any:  # Any: JSON
    """Return the output of the model."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == "sums/3"
    return orjson.loads(answer.body)["outputs"][SCORES]


# --- answers


@pytest.mark.parametrize(
    "headers",
    [JSON, CURL, {}, {"Content-Type": "application/json; charset=utf-8"}],
    ids=["json", "curl", "none", "charset"],
)
def test_json_is_answered_under_any_content_type(port: int, headers: dict[str, str]) -> None:
    """With or without the name of the only input, of its signature, and with any white space."""
    for body in (
        b'{"inputs": {"x": [[1, 2, 3, 4]]}}',
        b'\r\n {"inputs": [[1, 2, 3, 4]]}\n',
        b'{"signature_name": "serving_default", "inputs": [[1, 2.0, 3e0, 4]]}',
    ):
        assert outputs(ask(port, body, headers)) == [[10, 0]]


def test_the_rows_of_a_request_share_a_batch(port: int) -> None:
    """The outputs are in order, and those of a run alone."""
    rows = np.random.default_rng(5).uniform(1, 9, (3, 4)).astype(np.float32)
    answer = ask(port, {"inputs": {"x": rows.tolist()}})
    expected = np.stack([rows.sum(axis=1), np.log(rows[:, 0])], axis=1)
    np.testing.assert_allclose(outputs(answer), expected, rtol=1e-6)
    (batch,) = answer.batches
    assert (batch.rows, batch.cap) == (3, 4)


def test_more_rows_than_a_batch_takes_are_split(port: int) -> None:
    """Into batches of at most four rows."""
    answer = ask(port, {"inputs": [[row, 0, 0, 1] for row in range(1, 11)]})
    assert [row[0] for row in outputs(answer)] == list(range(2, 12))
    assert [(batch.rows, batch.cap) for batch in answer.batches] == [(4, 4), (4, 4), (2, 4)]


def test_nan_and_infinities_are_null(port: int) -> None:
    """The logarithms of 0 and of -1."""
    answer = ask(port, {"inputs": [[0, 0, 0, 0], [-1, 0, 0, 0]]})
    assert outputs(answer) == [[0, None], [-1, None]]


# --- what is refused


REFUSED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "a wrong dtype": (
        b'{"inputs": {"x": [[1, 2, 3, "4"]]}}', JSON, 400,
        "input 'x' at [0, 3]: expected numbers that fit float32, got '4'",
    ),
    "true": (
        b'{"inputs": {"x": [[1, true, 3, 4]]}}', JSON, 400,
        "input 'x' at [0, 1]: expected numbers that fit float32, got true",
    ),
    "too large a number": (
        b'{"inputs": {"x": [[1e39, 2, 3, 4]]}}', JSON, 400,
        "input 'x' at [0, 0]: expected numbers that fit float32, got 1e+39",
    ),
    "a row without its batch": (
        b'{"inputs": {"x": [1, 2, 3, 4]}}', JSON, 400,
        "input 'x': expected float32[?, 4], got float32[4]",
    ),
    "too long a row": (
        b'{"inputs": {"x": [[1, 2, 3, 4, 5]]}}', JSON, 400,
        "input 'x': expected float32[?, 4], got float32[1, 5]",
    ),
    "rows of several lengths": (
        b'{"inputs": {"x": [[1, 2, 3, 4], [1]]}}', JSON, 400,
        "input 'x' at [1]: the lists differ in length or depth",
    ),
    "another name": (
        b'{"inputs": {"y": [[1, 2, 3, 4]]}}', JSON, 400, "unknown input 'y': the model takes x"
    ),
    "no inputs": (b'{"inputs": {}}', JSON, 400, "input 'x' is missing: expected float32[?, 4]"),
    "another signature": (
        b'{"inputs": [[1, 2, 3, 4]], "signature_name": "predict"}', JSON, 400,
        "unknown signature 'predict': the model has serving_default",
    ),
    "half of it": (b'{"inputs": {"x": [[1, 2', JSON, 400, "the body is no JSON: unexpected end"),
    "half of it from curl": (b'{"inputs": {"x": [[1, 2', CURL, 400, "the body is no JSON: "),
    "a list": (b"[[1, 2, 3, 4]]", JSON, 400, "the body: expected an object, got a list"),
    "an image that is called JSON": (IMAGE, JSON, 400, "the body is no JSON: "),
    "nothing": (b"", JSON, 400, "the body is empty: post an image, "),
    "encoded": (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "Content-Encoding 'gzip'"),
    "too late": (
        SAMPLE.encode(), {**JSON, "X-Request-Timeout-Ms": "0.001"}, 504, "the deadline passed "
    ),
    "too long": (SAMPLE.encode() + b" " * QUEUE_BYTES, JSON, 413, "the body is 65577 bytes"),
    "too many rows": (
        b'{"inputs": [' + b",".join([b"[0,0,0,0]"] * 5000) + b"]}", JSON, 429,
        "5000 rows exceed the limit of the queue, 4096 rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"), list(REFUSED.values()), ids=list(REFUSED)
)
def test_the_error_names_what_does_not_fit(
    port: int, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    """In one line, and without a run."""
    answer = ask(port, body, headers)
    assert (answer.status, answer.error.startswith(message)) == (status, True), answer.body
    assert answer.error.isprintable()
    assert answer.batches == []
    assert ("retry-after" in answer.headers) == (status == 429)


def test_there_are_no_labels_to_choose_from(port: int) -> None:
    """Nor any other parameter."""
    for query, message in (
        ("k=1", "k: this model has no labels"),
        ("x=1", "unknown query parameter 'x'"),
    ):
        answer = ask(port, SAMPLE.encode(), path=f"/?{query}")
        assert (answer.status, answer.error[: len(message)]) == (400, message)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (IMAGE, {"Content-Type": "image/png"}),
        (IMAGE, {}),
        form(IMAGE),
        form(IMAGE, "upload"),
        (b"[[1, 2, 3, 4]]", CURL),
        (b"x=1", CURL),
    ],
    ids=["image", "bare", "form", "other field", "list", "fields"],
)
def test_the_error_for_other_bodies_has_a_request_that_works(
    port: int, body: bytes, headers: dict[str, str]
) -> None:
    """Above all for an image."""
    answer = ask(port, body, headers)
    assert answer.status == 415
    assert answer.error == f"this model takes tensors, no images; post JSON such as {SAMPLE}"
    assert outputs(ask(port, SAMPLE.encode())) == [[0, None]]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", "POST"),
        ("HEAD", "/", "POST"),
        ("PUT", "/", "POST"),
        ("POST", "/status", "GET, HEAD"),
        ("DELETE", "/status", "GET, HEAD"),
    ],
)
def test_the_error_for_another_method_lists_the_methods(
    port: int, method: str, path: str, allowed: str
) -> None:
    """With a 405."""
    answer = fetched(port, path, method)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


# --- the status


def test_every_sample_of_the_status_is_answered(port: int) -> None:
    """Posted without a change."""
    status = orjson.loads(fetched(port).body)
    assert (status["model"], status["images"], status["labels"]) == ("sums/3", None, 0)
    assert list(status["signatures"]) == [status["default_signature"]] == ["serving_default"]
    for facts in status["signatures"].values():
        assert facts["max_batch_size"] == 4
        assert facts["batched"]
        assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 4]}]
        assert facts["outputs"] == [{"name": SCORES, "dtype": "float32", "shape": [None, 2]}]
        assert facts["sample"] == SAMPLE
        assert outputs(ask(port, facts["sample"].encode())) == [[0, None]]
    assert fetched(port, method="HEAD").body == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_command_for_a_sample_works_in_a_shell(port: int, tmp_path: Path) -> None:
    """Whether it writes the numbers out, or lets Python do so."""
    few = Signature((TensorSpec("x", np.dtype(np.float32), (None, 4)),), ())
    many = Signature((TensorSpec("x", np.dtype(np.float32), (None, 400)),), ())
    assert sample_request(blank_feed(few), few.name) == SAMPLE
    message = []
    for signature in (few, many):
        command = sample_command(blank_feed(signature), signature.name, f"http://127.0.0.1:{port}/")
        ran = subprocess.run(
            ["sh", "-c", command],
            env=os.environ, cwd=tmp_path, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        message.append(orjson.loads(ran.stdout))
    assert message[0] == {"outputs": {SCORES: [[0, None]]}}
    assert message[1]["error"] == "input 'x': expected float32[?, 4], got float32[1, 400]"
