"""Large lists of numbers, read as arrays: server/api/number_lists.py."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.signature import FeedError, TensorSpec
from server.api import number_lists
from server.api.json_tensors import array_of
from server.api.json_text import as_list, read_json
from server.api.number_lists import MIN_LIST_BYTES, NumberList, read_number_lists

DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "bfloat16", "float32",
    "float64", "object"]  # fmt: skip
LONG = MIN_LIST_BYTES // 3 + 1  #: elements, each of at least three bytes


def plain(value: object) -> object:
    """Return *value* with lists in place of each `NumberList`."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    elements = as_list(value)
    return value if elements is None else [plain(each) for each in elements]


def arrays_in(value: object) -> int:
    """Return the count of `NumberList` in *value*."""
    if isinstance(value, dict | list):
        return sum(map(arrays_in, value.values() if isinstance(value, dict) else value))
    return isinstance(value, NumberList)


def outcome(dtype: str, value: object, finite: bool) -> tuple[str, object, bytes]:
    """Return what `array_of` makes of *value*: an error, or the shape and bytes of the array."""
    spec = TensorSpec("x", np.dtype(getattr(ml_dtypes, dtype, dtype)), None)
    try:
        array = array_of(spec, value, finite=finite)
    except FeedError as error:
        return str(error), None, b""
    assert array.dtype == spec.dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    return "", array.shape, array.tobytes()


def check_equal(read: object, expected: object) -> None:
    """Check that *read* is *expected*, as parsed by orjson, for every dtype."""
    assert repr(plain(read)) == repr(expected)
    if isinstance(read, NumberList):
        for dtype in DTYPES:
            for finite in (True, False):
                assert outcome(dtype, read, finite) == outcome(dtype, expected, finite)


def numbers(*shape: int) -> Any:
    """Return nested lists of random numbers."""
    return np.random.default_rng(0).standard_normal(shape).tolist()


@pytest.mark.parametrize(
    "value",
    [
        numbers(LONG),
        numbers(1, 2, LONG // 3, 3),
        numbers(LONG, 1),
        numbers(LONG, 1, 1),
        numbers(3, 5_000),
        [[[0, -1]], [[1, 2]], [[255, 65536]]] * (LONG // 3),
        [[2**63 - 1, -(2**63)]] * (LONG // 10),
        [1e300, 1, 0, 2**53 + 1, -0.0] * (LONG // 5),
    ],
    ids=["flat", "image", "column", "ones", "pieces", "whole", "64 bits", "mixed"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_list_of_numbers_is_an_array(value: Any, indent: int | None) -> None:
    """At the top, in an object or beside others, with or without spaces."""
    read = read_json(json.dumps(value, indent=indent).encode())
    assert isinstance(read, NumberList)
    if indent is None:
        check_equal(read, value)
    for content in ({"a": {"x": value}, "b": [1], "c": value}, [{"x": value}, "[0]", {"x": value}]):
        read = read_json(json.dumps(content, indent=indent).encode())
        assert (arrays_in(read), plain(read)) == (2, content)


ROW = b"1.5," * LONG


@pytest.mark.parametrize(
    "body",
    [
        b"[" + ROW + b"true]",
        b"[" + ROW + b"null]",
        b"[" + ROW + b'"1"]',
        b"[" + ROW + b"[1]]",
        b"[[" + ROW + b"1],[1]]",
        b"[[" + ROW + b"1],2]",
        b"[[1]," + b"[2]," * LONG + b"[]]",
        b"[[1]," + b"[2]," * LONG + b"[3,4]]",
        b"[[]," + b"[]," * LONG + b"[]]",
        b"[" * 9 + ROW + b"1" + b"]" * 9,
        b"[" + ROW + b"18446744073709551616]",
        b"[" + b"10," * LONG + b"18446744073709551615]",
        b'["a",[' + ROW + b'1],"b"]',
        b'{"a":[{},["a",[' + ROW + b'1],"b"]]}',
        b'{"a\\"":[' + ROW + b"1]}",
        b'{"' + b"a" * 20_000 + b'":[' + ROW + b"1]}",
        b'{"a":"' + b"[1]," * LONG + b'"}',
    ],
)
def test_other_large_values_are_read_as_ever(body: bytes) -> None:
    """Lists of other values, of different lengths, deep, or beside long or escaped strings."""
    read = read_json(body)
    assert arrays_in(read) == 0
    assert repr(read) == repr(orjson.loads(body))


@pytest.mark.parametrize(
    "body",
    [
        b"[" + ROW + b"]",
        b"[" + ROW + b",1]",
        b"[" + ROW + b"01]",
        b"[" + ROW + b"1.]",
        b"[" + ROW + b"1e400]",
        b"[" + ROW + b"1]]",
        b"[[1,]2," + b"[3,4]," * LONG + b"[3,4]]",
        b"[[1,2]3," + b"[3,4]," * LONG + b"[3,4]]",
        b"[5[1,2]," + b"[3,4]," * LONG + b"[3,4]]",
        b"[[1,2]," + b"[3,4]," * LONG + b"[3,4],]",
        b"[" + ROW + b"1] 2",
        b'{"a":[' + ROW + b'1],"b":}',
        b'{"a":1,[' + ROW + b"1]:2}",
        b"{[" + ROW + b'1]:2,"a":{}}',
        b'{"a":[' + ROW + b"1]",
        b"[" * 900 + ROW,
    ],
)
def test_large_texts_that_are_no_json_get_the_usual_error(body: bytes) -> None:
    """With the line and column in the text that was sent."""
    with pytest.raises(orjson.JSONDecodeError) as expected:
        orjson.loads(body)
    with pytest.raises(FeedError) as caught:
        read_json(body)
    assert str(caught.value) == f"the body is no JSON: {expected.value}"


_WHOLE = ["0", "-0", "7", "-1", "255", "70000", "9223372036854775807", "-9223372036854775808"]
_FITTING = [*_WHOLE, "0.5", "-0.0", "1e3", "1E-9", "65520", "1e38", "4e38", "-1e308"]
_ANY = [*_FITTING, "9223372036854775808", "18446744073709551616", "1e400", "01", "1."]
_ELEMENTS = 12
_SHAPES = [(12,), (3, 4), (2, 3, 2), (1, 12, 1), (4, 1, 3)]
_ERRORS = ["[", "]", ",", " ", "[", "]", ",", "true", '"a"', "{", "}", *_ANY]


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Return nested lists of equal lengths, often with an error, alone or in an object."""
    choices = st.sampled_from(draw(st.sampled_from([_WHOLE, _FITTING, _ANY])))
    leaves = draw(st.lists(choices, min_size=_ELEMENTS, max_size=_ELEMENTS))
    nested = np.array(leaves).reshape(draw(st.sampled_from(_SHAPES))).tolist()
    text = json.dumps(nested, indent=draw(st.sampled_from([None, 1]))).replace('"', "")
    if draw(st.booleans()):
        start = draw(st.integers(0, len(text)))
        error = "".join(draw(st.lists(st.sampled_from(_ERRORS), max_size=3)))
        text = text[:start] + error + text[start + draw(st.integers(0, 3)) :]
    around = draw(st.sampled_from(["%s", '{"a":%s}', '[{"a":1,"b":%s},"c"]']))
    return (around % text).encode()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(texts(), st.integers(1, 20))
def test_every_array_is_equal_to_the_parsed_list(body: bytes, piece_bytes: int) -> None:
    """Of short texts too, in pieces of any length; what is no JSON gives no array."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_lists, "MIN_LIST_BYTES", 1)
        patch.setattr(number_lists, "_PIECE_BYTES", piece_bytes)
        read = read_number_lists(body)
    if read is None:
        return
    expected = orjson.loads(body)
    assert arrays_in(read)
    if isinstance(read, list):
        read, expected = read[0]["b"], expected[0]["b"]
    elif isinstance(read, dict):
        read, expected = read["a"], expected["a"]
    check_equal(read, expected)
