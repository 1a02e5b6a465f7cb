"""curl and urllib, with requests as the documentation of the other servers has them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.images import coloured, encoded
from tests.integration.repositories import Repository

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl"),
]

IRIS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]

REGRESS = json.dumps(
    {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
)

FILES = {
    "iris-input.json": json.dumps({"instances": IRIS}).encode(),
    "iris-input-v2.json": json.dumps(
        {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": IRIS}]}
    ).encode(),
    "photo.png": encoded(coloured(31, 17), "PNG"),
}


def ran(served: Repository, folder: Path, *arguments: str) -> tuple[int, bytes]:
    """Run curl with *arguments*, the first of which is a path; return the status and the body."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    path, *options = arguments
    url = f"http://127.0.0.1:{served.server.port}{path}"
    command = ["curl", "-s", *options, url, "-o", "body", "-w", "%{http_code}"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    body = folder / "body"
    return int(done.stdout), body.read_bytes() if body.exists() else b""


#: The arguments of a request, and what its answer contains.
REQUESTS: dict[str, tuple[list[str], Any]] = {
    "TensorFlow Serving: half_plus_two": (
        ["/v1/models/half_plus_two:predict", "-d", '{"instances": [1.0, 2.0, 5.0]}', "-X", "POST"],
        {"predictions": [2.5, 3.0, 4.5]},
    ),
    "TensorFlow Serving: columns": (
        ["/v1/models/half_plus_two:predict", "-d", '{"inputs": [1.0, 2.0, 5.0]}'],
        {"outputs": [2.5, 3.0, 4.5]},
    ),
    "TensorFlow Serving: a version": (
        ["/v1/models/half_plus_two/versions/1:predict", "-d", '{"instances": [1.0]}'],
        {"predictions": [2.5]},
    ),
    "TensorFlow Serving: regress": (
        [
            "/v1/models/half_plus_two:regress",
            "-d",
            REGRESS,
            "-X",
            "POST",
        ],
        {"results": [2.5, 3.0]},
    ),
    "TensorFlow Serving: status": (
        ["/v1/models/half_plus_two"],
        {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    ),
    "TensorFlow Serving: metadata": (
        ["/v1/models/half_plus_two/metadata"],
        {"model_spec": {"name": "half_plus_two", "signature_name": "", "version": "1"}},
    ),
    "KServe: health": (["/"], {"status": "alive"}),
    "KServe: models": (
        ["/v1/models"],
        {"models": ["adder", "half_plus_two", "iris", "movable", "photos", "several", "types"]},
    ),
    "KServe: iris": (
        [
            "/v1/models/iris:predict", "-H", "Host: iris.default.example.com",
            "-H", "Content-Type: application/json", "-d", "@./iris-input.json",
        ],
        {"predictions": [1, 1]},
    ),
    "KServe: iris, version 2": (
        [
            "/v2/models/iris/infer", "-H", "Content-Type: application/json",
            "-d", "@./iris-input-v2.json",
        ],
        {
            "model_name": "iris",
            "outputs": [
                {"name": "output-0", "datatype": "INT64", "shape": [2], "data": [1, 1]}
            ],
        },
    ),
    "version 2, as a form": (
        ["/v2/models/iris/infer", "-d", "@./iris-input-v2.json"],
        {"model_version": "1"},
    ),
    "version 2: ready": (["/v2/health/ready"], {"ready": True}),
    "version 2: live": (["/v2/health/live"], {"live": True}),
    "version 2: server": (["/v2"], {"name": "tensorferry"}),
    "natively, as a form": (
        ["/models/half_plus_two", "-d", '{"inputs": {"x": [1.0, 2.0]}}'],
        {"outputs": {"y": [2.5, 3.0]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_documented_request_is_answered(served: Repository, tmp_path: Path, name: str) -> None:
    """With the Content-Type application/x-www-form-urlencoded of -d, unless -H states another."""
    arguments, expected = REQUESTS[name]
    status, body = ran(served, tmp_path, *arguments)
    assert status == 200, body
    content = json.loads(body)
    assert {key: content.get(key) for key in expected} == expected


def test_a_raw_request_is_an_image(served: Repository, tmp_path: Path) -> None:
    """As the body alone; all outputs are binary."""
    raw = ["-H", "Inference-Header-Content-Length: 0", "--data-binary", "@photo.png"]
    status, body = ran(served, tmp_path, "/v2/models/photos/infer", *raw)
    assert status == 200, body
    assert body.startswith(b'{"model_name":"photos"')
    assert len(body.partition(b"]}")[2]) == 3 * 4, body


def test_urllib_posts_json_as_a_form(served: Repository) -> None:
    """It states that Content-Type for any body without one."""
    base = f"http://127.0.0.1:{served.server.port}"
    bodies = {
        "/v1/models/iris:predict": FILES["iris-input.json"],
        "/v2/models/iris/infer": FILES["iris-input-v2.json"],
        "/models/iris": json.dumps({"inputs": {"input-0": IRIS}}).encode(),
    }
    for path, body in bodies.items():
        with urlopen(f"{base}{path}", body, timeout=60) as answer:  # noqa: S310 - the URL is above
            assert answer.status == 200
            assert b"1,1" in answer.read()
