"""
Tensors as clients write and read them, and wrong inputs of every kind.

Defines the JSON of an array on its own, without the server's code.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np
import orjson
import pytest

from model.signature import STRING

#: A JSON value, of `Any` depth and shape.
Json = Any
Inputs = dict[str, Json]


def as_json(array: np.ndarray) -> Json:
    """Return *array* as JSON: bytes that are no text in base64, NaN and infinity as null."""
    if array.dtype != STRING and array.dtype.kind not in "biu":
        array = array.astype(np.float64)  # others include bfloat16
    return _plain(array.tolist())


def _plain(value: Json) -> Json:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": b64encode(value).decode()}
    return None if isinstance(value, float) and not isfinite(value) else value


def inputs_of(feed: Mapping[str, np.ndarray]) -> Inputs:
    """Return *feed* as the object "inputs" of a request."""
    return {name: as_json(array) for name, array in feed.items()}


def request_body(inputs: Json, signature: str | None = None) -> bytes:
    """Return the body of a request."""
    named = {} if signature is None else {"signature_name": signature}
    return json.dumps({"inputs": inputs, **named}).encode()


def assert_outputs(body: bytes, expected: Mapping[str, np.ndarray]) -> None:
    """Assert the same names in the same order, with the same types, shapes and values."""
    (key, outputs), *others = orjson.loads(body).items()
    assert (key, others) == ("outputs", [])
    assert list(outputs) == list(expected)
    for name, array in expected.items():
        _assert_same(outputs[name], as_json(np.asarray(array)))


def _assert_same(got: Json, wanted: Json) -> None:
    assert type(got) is type(wanted), (got, wanted)
    if isinstance(wanted, list):
        assert len(got) == len(wanted)
        for pair in zip(got, wanted, strict=True):
            _assert_same(*pair)
    else:
        assert got == (pytest.approx(wanted, rel=1e-5) if isinstance(wanted, float) else wanted)


# --- wrong requests

#: Values that no input of a kind of dtype takes.
_NEVER: dict[str, list[Json]] = {
    "bool": [0, 1.0, "true", None, {}],
    "string": [1, 0.5, True, None, {}, {"b64": "?"}, {"b64": "", "text": ""}],
    "integer": [1.5, 1.0, "1", True, None, {}, 2**64, -(2**63) - 1],
    "float": ["1", True, None, {}, {"b64": "AAAA"}],
}
_TOO_LARGE = {"float16": 70_000, "bfloat16": 1e39, "float32": 1e39}


def wrong_inputs(facts: Mapping[str, Json], inputs: Inputs) -> Iterator[tuple[Inputs, str]]:
    """
    Yield inputs with one thing wrong, and the name that the refusal must hold.

    *facts* are those in `GET /status` of a signature, which takes *inputs*.
    """
    yield {**inputs, "unknown": 1}, "unknown"
    for spec in facts["inputs"]:
        name, value = spec["name"], inputs[spec["name"]]
        others = {each: inputs[each] for each in inputs if each != name}
        yield others, name
        for wrong in wrong_values(spec, value):
            yield {**others, name: wrong}, name
        # Where it runs alone, the model decides about an empty list.
        if spec["shape"] and (facts["batched"] or spec["shape"] != [None]):
            yield {**others, name: []}, name
        if facts["batched"] and others:
            yield {**others, name: [*value, value[0]]}, name


def wrong_values(spec: Mapping[str, Json], value: Json) -> Iterator[Json]:
    """Yield *value* with one thing wrong for the input of *spec*."""
    dtype, shape = spec["dtype"], spec["shape"]
    for wrong in (*_NEVER[_kind(dtype)], *filter(None, [_TOO_LARGE.get(dtype)])):
        yield _with_first(value, wrong)
    if shape is None:
        return
    if isinstance(value, list):
        yield [*value, [value[0]]]  # ragged
        yield [[], *value]
    # Numbers may stand for rows of one number.
    full = [[each] for each in value] if shape == [None, 1] else value
    yield [full]
    if shape != [None, 1] and shape:
        yield full[0]
    for axis, size in enumerate(shape):
        if size is not None:
            yield _grown(full, axis)


def _kind(dtype: str) -> str:
    if dtype in ("bool", "string"):
        return dtype
    return "float" if "float" in dtype else "integer"


def _with_first(value: Json, wrong: Json) -> Json:
    """Return *value* with *wrong* as its first number or string."""
    return [_with_first(value[0], wrong), *value[1:]] if isinstance(value, list) else wrong


def _grown(value: Json, axis: int) -> Json:
    """Return *value* with one more along *axis*."""
    return [*value, value[-1]] if axis == 0 else [_grown(each, axis - 1) for each in value]
