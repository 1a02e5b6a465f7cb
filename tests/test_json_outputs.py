"""Arrays written as JSON, and read again: server/api/json_tensors.py."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.signature import FeedError
from server.api.json_tensors import array_of, encode_outputs
from tests.json_values import BFLOAT16, DTYPES, FLOATS, answered, tensor

# --- answers


@pytest.mark.parametrize(
    ("dtype", "array", "expected"),
    [
        ("float32", np.array([[0.1, 2]], "float32"), b"[[0.1,2.0]]"),
        ("float64", np.array([np.nan, np.inf, -np.inf, 0.25]), b"[null,null,null,0.25]"),
        ("float16", np.array([0.5, np.inf], "float16"), b"[0.5,null]"),
        ("bfloat16", np.array([1.5, np.nan], BFLOAT16), b"[1.5,null]"),
        ("bfloat16", np.array(1.5, BFLOAT16), b"1.5"),
        ("float32", np.array(1.5, "float32"), b"1.5"),
        ("float32", np.float32(1.5), b"1.5"),
        (
            "float32",
            np.arange(6, dtype="float32").reshape(2, 3).T,
            b"[[0.0,3.0],[1.0,4.0],[2.0,5.0]]",
        ),
        ("int32", np.arange(9, dtype="int32")[::-4], b"[8,4,0]"),
        ("int64", np.array([1, -2], ">i8"), b"[1,-2]"),
        ("uint64", np.array(2**64 - 1, "uint64"), b"18446744073709551615"),
        ("bool", np.array([[True], [False]]), b"[[true],[false]]"),
        ("bool", np.array(True), b"true"),
        ("float32", np.zeros((2, 0, 3), "float32"), b"[[],[]]"),
        (
            "object",
            np.array([[b"a", "grün".encode()], [b"\xff", b""]], object),
            '[["a","grün"],[{"b64":"/w=="},""]]'.encode(),
        ),
        ("object", np.array([[b"a", b"b"], [b"c", b"d"]], object).T, b'[["a","c"],["b","d"]]'),
        ("object", np.array(b"a\x00", object), rb'"a\u0000"'),
        ("object", np.array(b"\xff", object), b'{"b64":"/w=="}'),
        ("object", b"a\x00", rb'"a\u0000"'),
        ("object", np.bytes_(b"a"), b'"a"'),
        ("object", np.array([b"abc", b"\xff"]), b'["abc",{"b64":"/w=="}]'),
        ("object", np.array(b"abc"), b'"abc"'),
        ("object", np.zeros((2, 0), object), b"[[],[]]"),
        ("object", np.zeros((1, 0), "S3"), b"[[]]"),
    ],
)
def test_arrays_are_written_as_nested_lists(dtype: str, array: np.ndarray, expected: bytes) -> None:
    """Of any rank and layout; strings in all forms that TensorFlow returns."""
    assert encode_outputs([tensor(dtype, "y")], [array]) == b'{"outputs":{"y":' + expected + b"}}\n"


def test_an_answer_names_every_output_in_order() -> None:
    """One line of JSON."""
    outputs = [tensor("float32", "scores"), tensor("object", "labels")]
    arrays = [np.zeros(2, "float32"), np.array([b"cat", b"dog"], object)]
    assert (
        encode_outputs(outputs, arrays)
        == b'{"outputs":{"scores":[0.0,0.0],"labels":["cat","dog"]}}\n'
    )
    with pytest.raises(ValueError, match="shorter"):
        encode_outputs(outputs, arrays[:1])


# --- round trips

_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    """Return the values of *dtype* that JSON has."""
    if dtype == "object":
        return st.binary() | st.text().map(str.encode)
    if dtype == "bfloat16":
        return st.floats(width=16, allow_nan=False, allow_infinity=False)
    if dtype in FLOATS:
        return hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    return hnp.from_dtype(np.dtype(dtype))


@settings(derandomize=True, deadline=None, max_examples=500)  # about 40 for each dtype
@given(st.sampled_from(DTYPES), st.data())
def test_an_output_can_be_sent_as_an_input(dtype: str, data: st.DataObject) -> None:
    """Bit by bit, except for the axes after an empty one, which JSON cannot show."""
    shape = data.draw(_SHAPES)
    size = math.prod(shape)
    drawn = data.draw(st.lists(elements(dtype), min_size=size, max_size=size))
    array = np.array(drawn, tensor(dtype).dtype).reshape(shape)
    back = array_of(tensor(dtype), answered(dtype, array))
    seen = shape[: shape.index(0) + 1] if 0 in shape else shape
    assert (back.dtype, back.shape) == (array.dtype, seen)
    assert back.flags.c_contiguous
    if dtype == "object":
        assert back.tolist() == array.reshape(seen).tolist()
    else:
        assert back.tobytes() == array.tobytes()


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.fixed_dictionaries({"b64": st.text() | st.just("YQ==")})
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.sampled_from(DTYPES), _VALUES)
def test_any_json_gives_its_own_array_or_a_short_refusal(dtype: str, value: object) -> None:
    """No other error is raised, and an accepted value is unchanged."""
    value = orjson.loads(orjson.dumps(value))
    try:
        array = array_of(tensor(dtype), value)
    except FeedError as error:
        message = str(error)
    else:
        assert array.dtype == tensor(dtype).dtype
        assert isinstance(value, list) == (array.ndim > 0)
        if dtype == "object":
            assert all(isinstance(element, bytes) for element in array.flat)
        elif dtype not in FLOATS:
            assert orjson.dumps(array.tolist()) == orjson.dumps(value)
        return
    assert len(message.splitlines()) == 1
    assert len(message) < 200
