"""Between JSON and arrays, in both directions: server/api/json_tensors.py."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.signature import FeedError, Signature, TensorSpec
from server.api.json_tensors import array_of, arrays_of, encode_outputs, parse_request

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
DTYPES = ["bool", *INTEGERS, *FLOATS, "object"]


def tensor(dtype: str, name: str = "x") -> TensorSpec:
    """Return a tensor of *dtype*, of any shape."""
    return TensorSpec(name, BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype), None)


def answered(dtype: str, array: Any) -> Any:
    """Return an output as a client parses it."""
    return orjson.loads(encode_outputs([tensor(dtype, "y")], [array]))["outputs"]["y"]


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> Signature:
    """Return a signature of these tensors."""
    return Signature(inputs, outputs)


def refusal(spec: TensorSpec, value: object) -> str:
    """Return the error for a *value* that *spec* refuses."""
    with pytest.raises(FeedError) as caught:
        array_of(spec, value)
    return str(caught.value)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.binary() | st.binary().map(lambda junk: b'{"inputs":' + junk + b"}"))
def test_any_bytes_are_parsed_or_refused_in_one_line(body: bytes) -> None:
    """No other error than `FeedError` is raised."""
    try:
        parse_request(body)
    except FeedError as error:
        message = str(error)
    else:
        return
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x", ["a", "b"], [b"a", b"b"]),
        ("x", "a", b"a"),
        ("x", {"b64": "AP8="}, b"\x00\xff"),
        ("x", {"x": {"b64": "AP8="}}, b"\x00\xff"),
        ("b64", {"b64": "AP8="}, b"AP8="),
        ("b64", [{"b64": "AP8="}], [b"\x00\xff"]),
    ],
)
def test_a_lone_input_needs_no_name(name: str, value: object, expected: object) -> None:
    """An object has names, but {"b64": ...} is a value, unless that is the input's name."""
    arrays = arrays_of(signature(tensor("object", name)), value)
    assert {name: array.tolist() for name, array in arrays.items()} == {name: expected}


def test_outputs_that_json_cannot_carry_are_refused_before_the_run() -> None:
    """The error names the output."""
    takes = signature(tensor("int32"), outputs=(tensor("bool", "z"), tensor("complex64", "y")))
    with pytest.raises(FeedError, match="output 'y': complex64 cannot be written as JSON"):
        arrays_of(takes, [1])


# --- values that fit


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("bool", [[True], [False]], [[True], [False]]),
        ("bool", True, True),
        ("int8", [-128, 127], [-128, 127]),
        ("uint8", [0, 255], [0, 255]),
        ("int64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("uint64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("int32", 7, 7),
        ("float32", [1, 2.5], [1.0, 2.5]),
        ("float32", 0.1, float(np.float32(0.1))),
        ("float32", [2**64 - 1, 1e-50], [2.0**64, 0.0]),
        ("float64", [1.7976931348623157e308, 5e-324], [1.7976931348623157e308, 5e-324]),
        ("float16", [65504, 65519.9], [65504.0, 65504.0]),
        ("bfloat16", [1, 2.5, 3.3895313892515355e38], [1.0, 2.5, 3.3895313892515355e38]),
        ("bfloat16", 2**64 - 1, 2.0**64),
        ("object", ["", "grün", "\x00"], [b"", "grün".encode(), b"\x00"]),
        ("object", ["a", {"b64": "/+8AAA=="}, {"b64": ""}], [b"a", b"\xff\xef\x00\x00", b""]),
        ("object", "a", b"a"),
    ],
)
def test_values_become_arrays_of_the_dtype(dtype: str, value: object, expected: object) -> None:
    """Whole ranges, and floats rounded to the nearest."""
    array = array_of(tensor(dtype), value)
    assert array.dtype == tensor(dtype).dtype
    assert array.tolist() == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_are_accepted_where_the_dialect_has_them(dtype: str) -> None:
    """A number too large for the dtype becomes an infinity; values of other types are refused."""
    value = [[math.nan, math.inf], [-math.inf, -1.7e308]]
    array = array_of(tensor(dtype), value, finite=False)
    least = -1.7e308 if dtype == "float64" else -math.inf
    assert array.dtype == tensor(dtype).dtype
    assert repr(array.tolist()) == f"[[nan, inf], [-inf, {least}]]"
    assert " at [0, 0]: expected numbers that fit" in refusal(tensor(dtype), value)
    for other in (True, None, "NaN"):
        with pytest.raises(FeedError, match="expected numbers"):
            array_of(tensor(dtype), [math.nan, other], finite=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("value", "shape"),
    [([], (0,)), ([[], []], (2, 0)), ([[[]]], (1, 1, 0)), ([[], [], []], (3, 0))],
)
def test_empty_lists_give_empty_arrays(dtype: str, value: object, shape: tuple[int, ...]) -> None:
    """Of the right dtype; the signature checks the shape."""
    array = array_of(tensor(dtype), value)
    assert (array.dtype, array.shape) == (tensor(dtype).dtype, shape)


def test_arrays_have_as_many_axes_as_numpy_allows() -> None:
    """64 axes are converted, and one more is refused."""
    for dtype, leaf in (("float32", 1.0), ("int8", 1), ("bool", True), ("object", "a")):
        value: object = leaf
        for _ in range(64):
            value = [value]
        assert array_of(tensor(dtype), value).shape == (1,) * 64
        message = "input 'x': the lists are nested deeper than 64"
        assert refusal(tensor(dtype), [value]) == message
        assert refusal(tensor(dtype), orjson.loads(b"[" * 1000 + b"]" * 1000)) == message


# --- values that do not


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_out_of_range_are_refused_with_the_range(dtype: str) -> None:
    """By one at either end; over 64 bits, orjson parses whole numbers as floats."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for number in (low - 1, high + 1):
        value = orjson.loads(
            orjson.dumps([[low, high], [high, 0]]).replace(b",0]", b",%d]" % number)
        )
        message = refusal(tensor(dtype), value)
        assert message.startswith(
            f"input 'x' at [1, 1]: expected whole numbers from {low} to {high}, got "
        )
        assert float(message.rpartition(" ")[2]) == float(number)


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("float16", 65520),
        ("float16", -1e300),
        ("bfloat16", 3.4e38),
        ("bfloat16", 1e300),
        ("float32", 3.5e38),
        ("float32", -1e300),
    ],
)
def test_floats_too_large_are_refused(dtype: str, number: float) -> None:
    """They are not rounded to infinity."""
    message = f"expected numbers that fit {dtype}, got {number}"
    assert refusal(tensor(dtype), number) == f"input 'x': {message}"
    assert refusal(tensor(dtype), [[1.0, number]]) == f"input 'x' at [0, 1]: {message}"


BYTE = "expected whole numbers from 0 to 255"
FLOAT = "expected numbers that fit float32"
TEXT = 'expected strings or {"b64": "..."}'


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("uint8", [1, 1.0], f" at [1]: {BYTE}, got 1.0"),
        ("uint8", 1.5, f": {BYTE}, got 1.5"),
        ("uint8", [[1, 2], [3, True]], f" at [1, 1]: {BYTE}, got true"),
        ("uint8", [False], f" at [0]: {BYTE}, got false"),
        ("uint8", ["1"], f" at [0]: {BYTE}, got '1'"),
        ("uint8", None, f": {BYTE}, got null"),
        ("uint8", {"a": 1}, f": {BYTE}, got an object"),
        ("uint8", [{"b64": "AA=="}, 1], f" at [0]: {BYTE}, got an object"),
        ("float32", [[1.5, True]], f" at [0, 1]: {FLOAT}, got true"),
        ("float32", [1, False], f" at [1]: {FLOAT}, got false"),
        ("float32", True, f": {FLOAT}, got true"),
        ("float32", [1.5, None], f" at [1]: {FLOAT}, got null"),
        ("float32", ["NaN"], f" at [0]: {FLOAT}, got 'NaN'"),
        ("float32", "y" * 5000, f": {FLOAT}, got '{'y' * 36}..."),
        ("float32", "\n\u2028" * 5000, f": {FLOAT}, got '" + r"\n\u2028" * 4 + r"\n\u..."),
        ("bool", [True, 1], " at [1]: expected true or false, got 1"),
        ("bool", 0.0, ": expected true or false, got 0.0"),
        ("bool", ["true"], " at [0]: expected true or false, got 'true'"),
        ("object", ["a", 1], f" at [1]: {TEXT}, got 1"),
        ("object", [None], f" at [0]: {TEXT}, got null"),
        ("float32", [[1.0, 2.0], [3.0]], " at [1]: the lists differ in length or depth"),
        ("float32", [[[1], [2]], [[3], [4, 5]]], " at [1, 1]: the lists differ in length or depth"),
        ("float32", [1.0, [2.0]], " at [1]: the lists differ in length or depth"),
        ("float32", [[1.0], 2.0], " at [1]: the lists differ in length or depth"),
        ("float32", [[], [1.0]], " at [1]: the lists differ in length or depth"),
        ("bool", [[True], []], " at [1]: the lists differ in length or depth"),
        ("object", ["ab", ["a", "b"]], " at [1]: the lists differ in length or depth"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_position(
    dtype: str, value: object, message: str
) -> None:
    """With what was expected and what was sent, shortened."""
    assert refusal(tensor(dtype), value) == f"input 'x'{message}"


@pytest.mark.parametrize(
    "value",
    [
        {"b64": "YQ"},
        {"b64": "YQ="},
        {"b64": "Y Q=="},
        {"b64": "YQ==\n"},
        {"b64": "YQ==YQ=="},
        {"b64": "_-8="},
        {"b64": "grün"},
        {"b64": 1},
        {"b64": None},
        {"b64": ["YQ=="]},
        {"b64": {"b64": "YQ=="}},
        {"b64": "YQ==", "more": 1},
        {"B64": "YQ=="},
        {},
    ],
)
def test_bytes_are_strict_base64_and_nothing_beside(value: object) -> None:
    """A truncated value is refused, not read in part."""
    assert refusal(tensor("object"), ["a", value]) == f"input 'x' at [1]: {TEXT}, got an object"


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.dtype("complex64"), "complex64"),
        (np.dtype("datetime64[s]"), "datetime64[s]"),
        (np.dtype([("qint8", "i1")]), "[('qint8', 'i1')]"),
        (np.dtype(ml_dtypes.float8_e5m2), "float8_e5m2"),
        (np.dtype(ml_dtypes.int4), "int4"),
        (np.dtype("S3"), "|S3"),
    ],
)
def test_other_dtypes_are_refused(dtype: np.dtype, message: str) -> None:
    """Even for an empty array."""
    expected = f"input 'x': {message} cannot be written as JSON"
    assert refusal(TensorSpec("x", dtype, None), []) == expected


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
        ("float32", np.arange(6, dtype="float32").reshape(2, 3).T,
            b"[[0.0,3.0],[1.0,4.0],[2.0,5.0]]"),
        ("int32", np.arange(9, dtype="int32")[::-4], b"[8,4,0]"),
        ("int64", np.array([1, -2], ">i8"), b"[1,-2]"),
        ("uint64", np.array(2**64 - 1, "uint64"), b"18446744073709551615"),
        ("bool", np.array([[True], [False]]), b"[[true],[false]]"),
        ("bool", np.array(True), b"true"),
        ("float32", np.zeros((2, 0, 3), "float32"), b"[[],[]]"),
        ("object", np.array([[b"a", "grün".encode()], [b"\xff", b""]], object),
            '[["a","grün"],[{"b64":"/w=="},""]]'.encode()),
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
)  # fmt: skip
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


@settings(derandomize=True, deadline=None, max_examples=130)  # about 10 for each dtype
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


@settings(derandomize=True, deadline=None, max_examples=60)
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
