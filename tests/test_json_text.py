"""The text of JSON, in both directions: server/api/json_text.py."""

import math
from typing import Any

import numpy as np
import orjson
import pytest

from model.signature import FeedError
from server.api.json_text import as_list, read_json, write_json

DEEP = 50_000  #: brackets
LONG = 2_000_000  #: digits


def refusal(body: bytes, *, tokens: bool) -> str:
    """Return the error for *body*, in one short line."""
    with pytest.raises(FeedError) as caught:
        read_json(body, tokens=tokens)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 200
    return message


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**64 - 1, -(2**63), 0.1, 1e308, "grün", "NaN", [], {}, [[1, "a"]]]
)
def test_a_json_value_is_read(value: object, tokens: bool) -> None:
    """At the top, and with a byte order mark."""
    body = orjson.dumps(value)
    assert read_json(body, tokens=tokens) == value
    assert read_json(b"\xef\xbb\xbf " + body + b"\r\n", tokens=tokens) == value


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"NaN", "nan"),
        (b"[NaN, Infinity,-Infinity,1]", "[nan, inf, -inf, 1]"),
        (rb'["NaN","\"NaN",{"Infinity":"-Infinity"},NaN]',
            "['NaN', '\"NaN', {'Infinity': '-Infinity'}, nan]"),
        (b'["gr\xc3\xbcn", NaN, 2.5]', "['grün', nan, 2.5]"),
    ],
)  # fmt: skip
def test_tokens_are_read_where_they_are_values(body: bytes, expected: str) -> None:
    """Not in strings; and only where the dialect has them."""
    assert repr(read_json(body, tokens=True)) == expected
    assert refusal(body, tokens=False).startswith("the body is no JSON: ")


@pytest.mark.parametrize("body", [b"{NaN:1}", b"[1NaN]", b"[NaN1]", b"[-NaN]", b"[+Infinity]",
    b"[1.Infinity]", b"[NaN.5]", b"[NaNe5]", b"[NaN,]", b"[nan]", b"NaN NaN",
    b'["\\NaN"]', b'["\\ud800",NaN]', b'["\xff",NaN]', b"[NaN,01]", b"[NaN,1e400]", b'["NaN]',
    b"[NaN"])  # fmt: skip
def test_tokens_loosen_no_other_rule(body: bytes) -> None:
    """The error has line and column, or the reason."""
    assert refusal(body, tokens=True).startswith("the body is no JSON: ")


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("token", [b"", b"NaN"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"[" * DEEP, b""),
        (b"[" * DEEP, b"]" * DEEP),
        (b'{"a":' * DEEP, b"}" * DEEP),
        (b"[" + b"9" * LONG + b",", b"]"),
        (b"[-1e" + b"9" * LONG + b",", b"]"),
        (b'"' * LONG, b""),
        (b'["' + b"\\" * LONG, b""),
    ],
    ids=["open", "deep", "objects", "digits", "exponent", "quotes", "backslashes"],
)
def test_hostile_text_is_refused(before: bytes, token: bytes, after: bytes, tokens: bool) -> None:
    """Neither a `RecursionError` nor seconds of work."""
    refusal(before + token + after, tokens=tokens)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    """A client on Windows learns what to change."""
    assert "; send it in UTF-8" in refusal('{"a":1}'.encode(encoding), tokens=True)


def test_lists_have_elements_and_other_values_have_none() -> None:
    """An object and a string are no lists."""
    assert as_list(read_json(b"[1,[2]]")) == [1, [2]]
    assert [as_list(read_json(body)) for body in (b"1", b"{}", b'"ab"', b"null")] == [None] * 4


@pytest.mark.parametrize(
    ("content", "expected", "with_null"),
    [
        (math.nan, b"NaN", b"null"),
        ({"a": [math.inf, -math.inf, 0.1]}, b'{"a":[Infinity,-Infinity,0.1]}',
            b'{"a":[null,null,0.1]}'),
        (np.array([[0.1, np.nan], [np.inf, -np.inf]], "f4"), b"[[0.1,NaN],[Infinity,-Infinity]]",
            b"[[0.1,null],[null,null]]"),
        (np.array([np.nan, 0.5], "f2"), b"[NaN,0.5]", b"[null,0.5]"),
        ([np.array([np.nan]), None, "null"], b'[[NaN],null,"null"]', b'[[null],null,"null"]'),
        ([np.float32(0.1), np.float64("inf"), np.float32("nan")], b"[0.1,Infinity,NaN]",
            b"[0.1,null,null]"),
        (np.zeros((2, 0), "f4"), b"[[],[]]", b"[[],[]]"),
        ((np.array([1, 2]), np.bool_(True)), b"[[1,2],true]", b"[[1,2],true]"),
    ],
)  # fmt: skip
def test_values_that_are_not_finite_are_tokens_or_null(
    content: Any, expected: bytes, with_null: bytes
) -> None:
    """A float32 is written in its shortest form."""
    assert write_json(content, tokens=True) == expected
    assert write_json(content) == with_null
    assert write_json(content, newline=True) == with_null + b"\n"


@pytest.mark.parametrize(
    "shape", [(70_000,), (3, 40_000), (1, 1, 40_000, 1), (300, 300), (50_000, 0)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
def test_a_large_array_is_written_in_pieces_with_the_same_text(
    shape: tuple[int, ...], dtype: str
) -> None:
    """Also with tokens."""
    array = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    expected = orjson.dumps({"a": {"b": array}}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert write_json({"a": {"b": array}}) == expected
    assert write_json({"a": {"b": array}}, tokens=True) == expected
    beside = [{"a": array, "b": ["\0", array]}, array[:2]]
    assert write_json(beside) == orjson.dumps(beside, option=orjson.OPT_SERIALIZE_NUMPY)
    if dtype.startswith("float") and array.size:
        array.flat[[0, -1]] = np.nan, -np.inf
        text = write_json([array], tokens=True)
        assert (text.count(b"NaN"), text.count(b"-Infinity")) == (1, 1)
        assert text.replace(b"NaN", b"null").replace(b"-Infinity", b"null") == write_json([array])
