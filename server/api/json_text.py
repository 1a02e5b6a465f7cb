"""
Read and write JSON, for every dialect.

Decides which text is JSON: UTF-8, nested at most as deep as orjson reads, numbers that are finite;
with *tokens* also NaN, Infinity and -Infinity, which TensorFlow Serving and its clients write.
Pure; may run in any thread.  May not import Twisted.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BytesIO
from json import detect_encoding
from math import isfinite, isnan

import numpy as np
import orjson

from model.signature import FeedError
from server.api.number_lists import MIN_LIST_BYTES, NumberList, read_number_lists

#: The number of first bytes that decide the encoding; a multiple of 4, so that no character is cut.
_HEAD_BYTES = 64

#: The most bytes of an array that are written without a chance for other threads to run: 16,384
#: numbers of float32 take 0.7 ms.
MAX_BYTES_WRITTEN_AT_ONCE = 64 * 1024

#: Where a large array is inserted; JSON escapes this byte.
_PLACE = b"\0"

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

    A list that is the whole text or a value of an object may be opaque, a `NumberList`, which
    `json_tensors.array_of` and `as_list` take.  With *tokens*, NaN, Infinity and -Infinity are
    read, too.  A whole number over 64 bits becomes a float, or an int if *body* has such tokens.

    Raises `FeedError` with line and column if *body* is no JSON, has another encoding, has a number
    too large for float64, or is nested deeper than 1,000 lists and objects.
    """
    if body[:1] != b"{" or body[1:2] == b"\0":
        body = _in_utf8(body)
    if len(body) >= MIN_LIST_BYTES and (content := read_number_lists(body)) is not None:
        return content
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
    if not tokens and not _has_large_array(content):
        return orjson.dumps(content, option=option)
    large: list[np.ndarray] = []
    first, *others = orjson.dumps(_prepared(content, tokens, large), option=option).split(_PLACE)
    if not large:
        return first
    # Its memory grows in place, while the join of a list would copy all pieces.
    written = BytesIO()
    written.write(first)
    for array, other in zip(large, others, strict=True):
        written.writelines(_pieces(array, tokens))
        written.write(other)
    return written.getvalue()


def as_list(value: object) -> list[object] | None:
    """
    Return the elements of *value*, which is a part of what `read_json` returned.

    None if it is no list.  Takes as long as parsing the list; `array_of` takes it whole.
    """
    if isinstance(value, NumberList):
        return value.as_list()
    return value if isinstance(value, list) else None


def _in_utf8(body: bytes) -> bytes:
    """Return *body* without a byte order mark; raises `FeedError` for other encodings."""
    encoding = detect_encoding(body[:_HEAD_BYTES])
    if encoding == "utf-8-sig":
        return body.removeprefix(BOM_UTF8)
    if encoding != "utf-8":
        raise FeedError(f"the body is JSON in {encoding.upper()}; send it in UTF-8")
    return body


def _no_json(error: ValueError) -> FeedError:
    return FeedError(f"the body is no JSON: {error}")


def _read_tokens(body: bytes) -> object:
    """
    Return the value in *body*, which has tokens that orjson refuses.

    First orjson checks a text of the same length, in which each token is the number 0, so that
    both readers accept the same texts; then Python's json reads the values.  Tokens in strings are
    replaced, too, which changes no result of the check.
    """
    checked = body
    for token in _TOKENS:
        checked = checked.replace(token, b"0".rjust(len(token)))
    try:
        orjson.loads(checked)
        return json.loads(body.decode())
    except RecursionError:
        raise FeedError("the body is no JSON: it is nested too deep") from None
    except ValueError as error:
        raise _no_json(error) from None


def _has_large_array(content: object) -> bool:
    """
    Whether *content* has an array that is written in pieces.

    Lists are searched if they begin with an object or an array: a list of values may be long.
    """
    if isinstance(content, dict):
        return any(map(_has_large_array, content.values()))
    if isinstance(content, list) and content and isinstance(content[0], dict | np.ndarray):
        return any(map(_has_large_array, content))
    return isinstance(content, np.ndarray) and content.nbytes > MAX_BYTES_WRITTEN_AT_ONCE


def _prepared(content: object, tokens: bool, large: list[np.ndarray]) -> object:
    """
    Return *content* with `_PLACE` for each large array, which is added to *large*.

    With *tokens*, values that are not finite are ready JSON.
    """
    if isinstance(content, dict):
        return {name: _prepared(value, tokens, large) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        if content.nbytes > MAX_BYTES_WRITTEN_AT_ONCE:
            large.append(content)
            return orjson.Fragment(_PLACE)
        return orjson.Fragment(_array_text(content, tokens)) if tokens else content
    if isinstance(content, list | tuple):
        return [_prepared(value, tokens, large) for value in content]
    if tokens and isinstance(content, float | np.floating) and not isfinite(content):
        return orjson.Fragment(_token(content))
    return content


def _pieces(array: np.ndarray, tokens: bool) -> Iterator[bytes | memoryview]:
    """
    Yield *array* as JSON, in pieces of at most `MAX_BYTES_WRITTEN_AT_ONCE` bytes of the array.

    Other threads may run between two pieces.
    """
    if array.nbytes <= MAX_BYTES_WRITTEN_AT_ONCE:
        yield _array_text(array, tokens)
        return
    rows = MAX_BYTES_WRITTEN_AT_ONCE * len(array) // array.nbytes
    yield b"["
    for row in range(0, len(array), max(1, rows)):
        if row:
            yield b","
        if rows > 1:
            yield memoryview(_array_text(array[row : row + rows], tokens))[1:-1]
        else:
            yield from _pieces(array[row], tokens)
    yield b"]"


def _array_text(array: np.ndarray, tokens: bool) -> bytes:
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return _null_replaced(text, array) if tokens and b"null" in text else text


def _null_replaced(text: bytes, array: np.ndarray) -> bytes:
    """
    Return *text*, the JSON of *array*, with tokens in place of null.

    The text of numbers has null for those alone that are not finite.
    """
    values = array[~np.isfinite(array)].tolist()
    first, *others = text.split(b"null")
    parts = [first]
    for value, other in zip(values, others, strict=True):
        parts += _token(value), other
    return b"".join(parts)


def _token(value: float | np.floating) -> bytes:
    if isnan(value):
        return b"NaN"
    return b"Infinity" if value > 0 else b"-Infinity"
