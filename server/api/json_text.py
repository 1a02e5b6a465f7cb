"""
Read and write JSON, for every dialect.

Decides which text is JSON: UTF-8, nested at most as deep as orjson reads, numbers that are finite;
with *tokens* also NaN, Infinity and -Infinity, which TensorFlow Serving and its clients write.
Pure; may run in any thread.  May not import Twisted.
"""

import json
from codecs import BOM_UTF8
from json import detect_encoding
from math import isfinite, isnan

import numpy as np
import orjson

from model.signature import FeedError

#: The number of first bytes that decide the encoding; a multiple of 4, so that no character is cut.
_HEAD_BYTES = 64

#: Texts that orjson refuses and Python's json reads, each after the texts that it is a part of.
_TOKENS = (b"-Infinity", b"Infinity", b"NaN")


def begins_object(head: bytes) -> bool:
    """
    Whether *head*, the first bytes of a body, begins a JSON object in UTF-8, UTF-16 or UTF-32.
    """
    if head[:1] == b"{":
        return True
    text = head[:_HEAD_BYTES].decode(detect_encoding(head), "replace")
    return text.lstrip().startswith("{")


def read_json(body: bytes, *, tokens: bool = False) -> object:
    """
    Return the value in *body*: JSON in UTF-8, with or without a byte order mark.

    A list in it may be an opaque value, which `json_tensors.array_of` and `as_list` take.  A whole
    number over 64 bits becomes a float, or an int if *body* has tokens.  *tokens*: NaN, Infinity
    and -Infinity are read, too.

    Raises `FeedError` with line and column if *body* is no JSON, has another encoding, has a number
    too large for float64, or is nested deeper than 1,000 lists and objects.
    """
    encoding = detect_encoding(body[:_HEAD_BYTES])
    if encoding == "utf-8-sig":
        body = body.removeprefix(BOM_UTF8)
    elif encoding != "utf-8":
        raise FeedError(f"the body is JSON in {encoding.upper()}; send it in UTF-8")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if tokens and (b"NaN" in body or b"Infinity" in body):
            return _read_tokens(body)
        raise _no_json(error) from None


def write_json(content: object, *, tokens: bool = False, newline: bool = False) -> bytes:
    """
    Return *content* as JSON in UTF-8, without spaces, and with *newline* a line end.

    *content* may hold numpy arrays in C order and numpy scalars; a float32 is written in the
    shortest form from which float32 reads it back.  NaN and infinities are written as null; with
    *tokens* as NaN, Infinity and -Infinity.
    """
    option = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    return orjson.dumps(_with_tokens(content) if tokens else content, option=option)


def as_list(value: object) -> list[object] | None:
    """
    Return the elements of *value*, which is a part of what `read_json` returned.

    None if it is no list.  Takes as long as parsing the list; `array_of` takes it whole.
    """
    return value if isinstance(value, list) else None


def _no_json(error: ValueError) -> FeedError:
    return FeedError(f"the body is no JSON: {error}")


def _read_tokens(body: bytes) -> object:
    """
    Return the value in *body*, which has tokens that orjson refuses.

    First orjson checks a text of the same length, in which each token is an empty list, so that
    both readers accept the same texts; then Python's json reads the values.  Tokens in strings are
    replaced, too, which changes no result of the check.
    """
    checked = body
    for token in _TOKENS:
        checked = checked.replace(token, b"[]".rjust(len(token)))
    try:
        orjson.loads(checked)
        return json.loads(body.decode())
    except RecursionError:
        raise FeedError("the body is no JSON: it is nested too deep") from None
    except ValueError as error:
        raise _no_json(error) from None


def _with_tokens(content: object) -> object:
    """Return *content*, with ready JSON for the parts that have values that are not finite."""
    match content:
        case dict():
            return {name: _with_tokens(value) for name, value in content.items()}
        case list() | tuple():
            return [_with_tokens(value) for value in content]
        case np.ndarray() if content.dtype.kind == "f":
            return _array_with_tokens(content)
        case float() | np.floating() if not isfinite(content):
            return orjson.Fragment(_token(content))
    return content


def _array_with_tokens(array: np.ndarray) -> object:
    odd = array[~np.isfinite(array)]
    if not odd.size:
        return array
    # The text of an array of floats has null for these elements alone.
    first, *others = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).split(b"null")
    parts = [first]
    for value, text in zip(odd.tolist(), others, strict=True):
        parts += _token(value), text
    return orjson.Fragment(b"".join(parts))


def _token(value: float | np.floating) -> bytes:
    if isnan(value):
        return b"NaN"
    return b"Infinity" if value > 0 else b"-Infinity"
