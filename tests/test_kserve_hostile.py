"""Hostile bodies in the v2 protocol: each gets an answer of its own, and never a 500."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.http import Answer
from tests.fakes.kserve import KServeServer
from tests.fakes.tables import JSON_LENGTH, pairs_in

SERVER = KServeServer()

#: The bodies of the tables that are JSON, with the bytes after them.
BODIES = [(it.path, it.body.encode(), bytes.fromhex(it.tail)) for it in pairs_in("kserve")
    if it.body and it.path.endswith("/infer")]  # fmt: skip

SIZES = st.one_of(st.integers(-1, 4), st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**64]))
SCALARS = st.one_of(st.none(), st.booleans(), SIZES, st.floats(), st.text(max_size=5))
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
DATATYPES = st.sampled_from(["FP32", "FP16", "BF16", "INT8", "BOOL", "BYTES", "UINT64", "FP8"])


def tensors(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return inputs *name* that are nearly right."""
    return st.fixed_dictionaries(
        {"name": st.sampled_from([name, "z"]), "datatype": DATATYPES | JSON},
        optional={
            "shape": st.lists(SIZES, max_size=4) | JSON,
            "data": JSON,
            "parameters": st.dictionaries(
                st.sampled_from(["binary_data_size", "classification", "binary_data"]), SCALARS
            ),
        },
    )


def asked(path: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Return the answer to a hostile request; a right one after it is answered, too."""
    answer = SERVER.answer("POST", path, body, headers)
    assert answer.status in {200, 400, 413, 503}, (answer.status, answer.body)
    if answer.status != 200:
        assert list(answer.json()) == ["error"]
    return answer


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.sampled_from(["echo_fp32", "echo_bytes", "echo_bool", "open", "wide", "pets", "sums"]),
    inputs=st.lists(tensors("x") | tensors("image"), max_size=3) | JSON,
    outputs=st.none() | st.lists(tensors("y"), max_size=2),
    parameters=st.none() | st.dictionaries(st.text(max_size=9), SCALARS, max_size=3),
    tail=st.none() | st.binary(max_size=40),
)
def test_no_body_is_a_fault_of_the_server(
    model: str, inputs: object, outputs: object, parameters: object, tail: bytes | None
) -> None:
    """Whatever its shapes, types and lengths are."""
    content = {"inputs": inputs, "outputs": outputs, "parameters": parameters}
    body = json.dumps(content).encode()
    headers = {} if tail is None else {JSON_LENGTH: str(len(body))}
    asked(f"/v2/models/{model}/infer", body + (tail or b""), headers)


@settings(max_examples=150, deadline=None)
@given(
    base=st.sampled_from(BODIES),
    at=st.integers(0, 2000),
    cut=st.integers(0, 6),
    put=st.binary(max_size=6),
    shift=st.integers(-3, 3),
)
def test_no_changed_body_is_a_fault_of_the_server(
    base: tuple[str, bytes, bytes], at: int, cut: int, put: bytes, shift: int
) -> None:
    """A right request of which some bytes, or the header, were changed."""
    path, content, tail = base
    body = content + tail
    at %= len(body)
    headers = {JSON_LENGTH: str(max(0, len(content) + shift))} if tail or shift else {}
    answer = SERVER.answer("POST", path, body[:at] + put + body[at + cut :], headers)
    assert answer.status in {200, 400, 404, 503}, (answer.status, answer.body)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"inputs": ' * 5_000,
        '{"inputs": [NaN, ' + "[" * 50_000,
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": ' + "[" * 900 + "1"
        + "]" * 900 + "}]}",
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [' + "9" * 60_000
        + ", 1]}]}",
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [' + "9" * 60_000 + "]}]}",
        '{"id": NaN, "inputs": [{"name": "x", "shape": [' + "9" * 5_000 + "]}]}",
    ],
)  # fmt: skip
def test_deep_and_long_bodies_are_refused(text: str) -> None:
    """In the form of the protocol."""
    answer = asked("/v2/models/echo_fp32/infer", text.encode(), {})
    assert answer.status in {200, 400}
