"""The v2 protocol with a real SavedModel of many dtypes, over real sockets."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16
from PIL import Image
from twisted.internet.threads import deferToThread

from model.signature import STRING
from server.settings.table import Settings
from tests.fakes.server import watched_log
from tests.images import encoded
from tests.integration.clients import Answer, get, post
from tests.integration.saved_models import PIXELS, SavedModelAt, strings
from tests.integration.saving import save_functions
from tests.integration.watched import WatchedServer, in_reactor, module_fixture, watched_server

pytestmark = pytest.mark.full

LENGTH = "Inference-Header-Content-Length"

#: The dtype of each datatype, and two rows of two values.
VALUES: dict[str, np.ndarray] = {
    "BOOL": np.array([[True, False], [False, False]]),
    "UINT8": np.array([[0, 255], [3, 4]], np.uint8),
    "UINT16": np.array([[0, 65535], [3, 4]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1], [3, 4]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1], [3, 4]], np.uint64),
    "INT8": np.array([[-128, 127], [3, 4]], np.int8),
    "INT16": np.array([[-(2**15), 1], [3, 4]], np.int16),
    "INT32": np.array([[-(2**31), 1], [3, 4]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [3, 4]], np.int64),
    "FP16": np.array([[0.5, -65504], [3, 4]], np.float16),
    "BF16": np.array([[0.5, -3e38], [3, 4]], bfloat16),
    "FP32": np.array([[0.1, -3e38], [3, 4]], np.float32),
    "FP64": np.array([[0.1, -1e308], [3, 4]], np.float64),
    "BYTES": strings("", "a", "é", "bc").reshape(2, 2),
}

#: The datatypes that requests and answers have as JSON.
IN_JSON = [name for name in VALUES if name not in {"FP16", "BF16"}]


def write_types(folder: Path) -> None:
    """Write a SavedModel: `serving_default` returns each input as it is; `alone` has no batches."""
    import tensorflow as tf

    def call(**inputs: Any) -> Mapping[str, Any]:
        return {f"{name}_out": tf.identity(value) for name, value in inputs.items()}

    dtypes = {name: tf.as_dtype(value.dtype).name for name, value in VALUES.items()}
    rows = {name: (dtype, (None, 2)) for name, dtype in dtypes.items()}
    fixed = {name: (dtype, (2, 2)) for name, dtype in dtypes.items()}
    save_functions(folder, {"serving_default": (call, rows), "alone": (call, fixed)})


@dataclass(frozen=True)
class Served:
    """The model, served."""

    server: WatchedServer

    async def infer(self, body: bytes, length: int | None) -> Answer:
        """Post an inference request whose JSON has *length* bytes; None: all of it."""
        headers = {} if length is None else {LENGTH: str(length)}
        path = "/v2/models/default/infer"
        return await deferToThread(
            partial(post, self.server.port, body, path=path, headers=headers)
        )

    async def get(self, path: str) -> Any:
        """Return the JSON at *path*."""
        answer = await deferToThread(get, self.server.port, path)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@module_fixture("types")
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """Serve the model for all tests."""
    base = tmp_path_factory.mktemp("served")
    folder = base / request.param
    write_types(folder)
    settings = Settings(port=0, model=folder, max_batch_size=4, lanes=1)
    with watched_log():
        async with watched_server(settings, base) as server:
            yield Served(server)


def binary_of(array: np.ndarray) -> bytes:
    """Return *array* in the encoding of the protocol."""
    if array.dtype == STRING:
        return b"".join(pack("<I", len(each)) + each for each in array.flat)
    return array.tobytes()


def array_in(output: Mapping[str, Any], body: bytes, start: int) -> tuple[np.ndarray, int]:
    """Return the array of an *output* whose bytes begin in *body* at *start*, and their end."""
    dtype, shape = VALUES[output["datatype"]].dtype, output["shape"]
    if "data" in output:
        texts = [it.encode() if isinstance(it, str) else it for it in output["data"]]
        return np.array(texts, dtype).reshape(shape), start
    stop = start + output["parameters"]["binary_data_size"]
    if dtype != STRING:
        return np.frombuffer(body[start:stop], dtype).reshape(shape), stop
    elements: list[bytes] = []
    while start < stop:
        (size,) = unpack_from("<I", body, start)
        elements.append(body[start + 4 : start + 4 + size])
        start += 4 + size
    return np.array(elements, STRING).reshape(shape), stop


def request_of(
    values: Mapping[str, np.ndarray], *, as_json: list[str], **more: object
) -> tuple[bytes, int]:
    """Return the body of a request with *values*, and the length of its JSON."""
    inputs: list[dict[str, object]] = []
    tails: list[bytes] = []
    for name, array in values.items():
        tensor: dict[str, object] = {"name": name, "datatype": name, "shape": array.shape}
        if name in as_json:
            data = [it.decode() for it in array.flat] if name == "BYTES" else array.ravel().tolist()
            tensor["data"] = data
        else:
            tails.append(binary_of(array))
            tensor["parameters"] = {"binary_data_size": len(tails[-1])}
        inputs.append(tensor)
    content = json.dumps({"inputs": inputs, **more}).encode()
    return b"".join([content, *tails]), len(content)


def assert_echoed(answer: Answer, values: Mapping[str, np.ndarray], as_json: list[str]) -> None:
    """Check that *answer* has *values*, those *as_json* as JSON and the others in binary."""
    assert answer.status == 200, answer.body
    length = int(answer.headers[LENGTH.lower()])
    outputs = json.loads(answer.body[:length])["outputs"]
    start = length
    for output in outputs:
        array, start = array_in(output, answer.body, start)
        assert ("data" in output) == (output["datatype"] in as_json)
        np.testing.assert_array_equal(array, values[output["datatype"]])
    assert start == len(answer.body)
    assert sorted(output["datatype"] for output in outputs) == sorted(values)


@in_reactor
@pytest.mark.parametrize("signature", ["serving_default", "alone"])
@pytest.mark.parametrize("as_json", [[], IN_JSON])
@pytest.mark.parametrize("order", [1, -1])
async def test_all_dtypes_are_carried_exactly(
    served: Served, signature: str, as_json: list[str], order: int
) -> None:
    """In binary, at any address in the body, and as JSON; with and without batches."""
    values = dict([*VALUES.items()][::order])
    outputs = [
        {"name": f"{name}_out", "parameters": {"binary_data": name not in as_json}}
        for name in VALUES
    ]
    for padding in range(8):
        body, length = request_of(
            values,
            as_json=as_json,
            outputs=outputs,
            id="i" * padding,
            parameters={"signature_name": signature},
        )
        assert_echoed(await served.infer(body, length), VALUES, as_json)


@in_reactor
async def test_metadata_and_statistics_describe_what_is_served(served: Served) -> None:
    """Each datatype, and one more row and run for each request."""
    metadata = await served.get("/v2/models/default")
    shapes = [{"name": name, "datatype": name, "shape": [-1, 2]} for name in sorted(VALUES)]
    assert sorted(metadata["inputs"], key=lambda it: str(it["name"])) == shapes
    assert metadata["versions"] == [
        (await served.get("/v2/models/stats"))["model_stats"][0]["version"]
    ]
    (before,) = (await served.get("/v2/models/default/stats"))["model_stats"]
    body, length = request_of(VALUES, as_json=[], parameters={"binary_data_output": True})
    assert_echoed(await served.infer(body, length), VALUES, [])
    (after,) = (await served.get("/v2/models/default/stats"))["model_stats"]
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["execution_count"] == before["execution_count"] + 1
    stats, earlier = after["inference_stats"], before["inference_stats"]
    took = {name: stats[name]["ns"] - earlier[name]["ns"] for name in stats}
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert 0 < sum(took[name] for name in stages) <= took["success"]
    assert stats["fail"] == earlier["fail"]


@in_reactor
@pytest.mark.parametrize("name", ["uint8 images", "encoded images"])
async def test_an_image_has_the_same_scores_in_every_form(
    name: str, tmp_path: Path, saved_model: SavedModelAt
) -> None:
    """As base64, in binary, raw and at `POST /`; for a model of pixels and one that decodes."""
    files = [encoded(Image.fromarray(each), "PNG") for each in PIXELS]
    settings = Settings(port=0, model=saved_model(name), max_batch_size=4, lanes=1)
    with watched_log():
        async with watched_server(settings, tmp_path) as server:
            served = Served(server)
            (spec,) = (await served.get("/v2/models/default"))["inputs"]
            tensor = {"name": spec["name"], "datatype": "BYTES", "shape": [len(files)]}
            native = [await deferToThread(post, server.port, file) for file in files]
            expected = [json.loads(it.body)["outputs"]["scores"][0] for it in native]
            texts = [b64encode(file).decode() for file in files]
            body = json.dumps({"inputs": [{**tensor, "data": texts}]}).encode()
            answers = [await served.infer(body, None)]
            tail = binary_of(np.array(files, STRING))
            size = {"binary_data_size": len(tail)}
            body = json.dumps({"inputs": [{**tensor, "parameters": size}]}).encode()
            answers.append(await served.infer(body + tail, len(body)))
            for answer in answers:
                (output,) = json.loads(answer.body)["outputs"]
                assert output["shape"] == [len(files), 3]
                np.testing.assert_array_equal(np.reshape(output["data"], (-1, 3)), expected)
            for file, row in zip(files, expected, strict=True):
                raw = await served.infer(file, 0)
                scores = np.frombuffer(raw.body[int(raw.headers[LENGTH.lower()]) :], np.float32)
                np.testing.assert_array_equal(scores, np.array(row, np.float32))
