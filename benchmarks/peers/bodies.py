"""
Make the request that each server expects for a payload.

Pure.  Each function takes the bytes of a payload and its kind (null, jpeg, tensor or row), and
returns the headers and the body.  A row is a list of numbers in JSON.  peers.toml names the
function of each server.
"""

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

Request = tuple[dict[str, str], bytes]

JSON = {"Content-Type": "application/json"}


def raw(payload: bytes, kind: str) -> Request:
    """Return a request whose body is the payload itself."""
    content_type = "image/jpeg" if kind == "jpeg" else "application/octet-stream"
    return {"Content-Type": content_type}, payload


def json_base64(payload: bytes, _kind: str) -> Request:
    """Return JSON with the payload as a base64 string."""
    return JSON, json.dumps({"body": base64.b64encode(payload).decode()}).encode()


def json_base64_list(payload: bytes, _kind: str) -> Request:
    """Return JSON with a list of one base64 string."""
    return JSON, json.dumps({"bodies": [base64.b64encode(payload).decode()]}).encode()


def instances_base64(payload: bytes, _kind: str) -> Request:
    """Return the JSON of TensorFlow Serving: one row, a base64 string."""
    rows = [{"b64": base64.b64encode(payload).decode()}]
    return JSON, json.dumps({"instances": rows}).encode()


def v2_base64(payload: bytes, _kind: str) -> Request:
    """Return a request of the V2 inference protocol: JSON with one base64 string."""
    tensor = {
        "name": "body", "shape": [1, 1], "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(payload).decode()],
    }  # fmt: skip
    return JSON, json.dumps({"inputs": [tensor]}).encode()


def v2_binary(payload: bytes, kind: str) -> Request:
    """Return a request of the V2 protocol with its binary extension; a tensor is FP32."""
    tensor: dict[str, Any]
    if kind == "tensor":
        tensor, data = {"name": "image", "shape": [1, 224, 224, 3], "datatype": "FP32"}, payload
    else:
        tensor = {"name": "body", "shape": [1, 1], "datatype": "BYTES"}
        data = struct.pack("<I", len(payload)) + payload
    tensor["parameters"] = {"binary_data_size": len(data)}
    output = {"name": "answer", "parameters": {"binary_data": False}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return headers, head + data


def inputs_row(payload: bytes, _kind: str) -> Request:
    """Return JSON with one row of numbers under "inputs"."""
    return JSON, b'{"inputs": [%b]}' % payload


def instances_row(payload: bytes, _kind: str) -> Request:
    """Return the JSON of TensorFlow Serving: one row of numbers."""
    return JSON, b'{"instances": [%b]}' % payload


def v2_row(payload: bytes, _kind: str) -> Request:
    """Return the JSON of the V2 protocol: one row of numbers, FP32."""
    numbers = json.loads(payload)
    tensor = {"name": "row", "shape": [1, len(numbers)], "datatype": "FP32", "data": numbers}
    return JSON, json.dumps({"inputs": [tensor]}).encode()


BODIES: dict[str, Callable[[bytes, str], Request]] = {
    each.__name__: each
    for each in (
        raw,
        json_base64,
        json_base64_list,
        instances_base64,
        v2_base64,
        v2_binary,
        inputs_row,
        instances_row,
        v2_row,
    )
}
