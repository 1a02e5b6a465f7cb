"""
Read the large lists of numbers in a JSON text as arrays, without a Python object for each number.

Decides which texts are such lists: nested lists of equal lengths that hold numbers alone.  Anything
else is left to the reader of all JSON, which then makes the error, too.  Pure; may run in any
thread.  May not import Twisted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from secrets import token_hex

import numpy as np
import orjson
import simdjson

#: The shortest text of a list, in bytes, that becomes a `NumberList`.  Shorter lists are read as
#: fast by orjson.
MIN_LIST_BYTES = 8192

#: The longest rest of a text, in bytes, that is searched for lists and for their places.
_MAX_REST_BYTES = 16 * 1024

#: The text that is read without a chance for other threads to run, in bytes: 256 KiB take 0.6 ms.
_PIECE_BYTES = 256 * 1024

#: The most axes of a `NumberList`.
_MAX_AXES = 8

#: What remains of a list of numbers without these bytes is its brackets and commas.
_NUMBER_OR_SPACE = b"0123456789+-.eE \t\r\n"

#: Begins the string that stands for a list while the rest of a text is parsed.  Random, so that no
#: client can send it.
_MARK = f"list {token_hex(16)} "


@dataclass(frozen=True, slots=True, eq=False)
class NumberList:
    """A list of numbers, or nested lists of equal lengths, as a part of parsed JSON."""

    text: bytes  #: as sent
    #: The numbers in the shape of the lists: int64 if all are whole, else float64.
    array: np.ndarray

    def as_list(self) -> list[object]:
        """Return the list as orjson parses it."""
        elements: list[object] = orjson.loads(self.text)
        return elements


def read_number_lists(body: bytes) -> object | None:
    """
    Return the value in *body* with a `NumberList` for each of its large lists of numbers.

    Such a list is a value of an object, or the whole text.  None if *body* has no such list, is no
    JSON, or has so much beside the lists that the plain reader is as fast.
    """
    lists: dict[str, NumberList] = {}
    rest, begin = b"", 0
    for start, stop in _places(body):
        numbers = _number_list(body[start:stop])
        if numbers is None:
            return None
        mark = f"{_MARK}{len(lists)}"
        lists[mark] = numbers
        rest += b'%b"%b"' % (body[begin:start], mark.encode())
        begin = stop
    if not lists:
        return None
    try:
        return _filled(orjson.loads(rest + body[begin:]), lists)
    except orjson.JSONDecodeError:
        return None


def _places(body: bytes) -> list[tuple[int, int]]:
    """
    Return where in *body* lists of numbers may begin and end; empty if the rest is too long.

    A place is outside of strings, from the first opening to the last closing bracket before the
    next string or the end of an object.
    """
    places: list[tuple[int, int]] = []
    covered = begin = 0
    while True:
        quote = body.find(b'"', begin)
        end = len(body) if quote < 0 else quote
        if end - begin >= MIN_LIST_BYTES:
            start = max(body.find(b"[", begin, end), begin)
            brace = body.find(b"}", start, end)
            stop = body.rfind(b"]", start, end if brace < 0 else brace) + 1
            if stop - start >= MIN_LIST_BYTES:
                places.append((start, stop))
                covered += stop - start
        if end - covered > _MAX_REST_BYTES:
            return []
        if quote < 0:
            return places
        begin = body.find(b'"', quote + 1) + 1
        # A backslash may escape the quote: such strings are left to the plain reader.
        if begin == 0 or body.find(b"\\", quote, begin) >= 0:
            return []


def _number_list(text: bytes) -> NumberList | None:
    """Return the list in *text*; None if it is no list of lists of equal lengths of numbers."""
    parts = range(0, len(text), _PIECE_BYTES)
    brackets = [text[at : at + _PIECE_BYTES].translate(None, _NUMBER_OR_SPACE) for at in parts]
    shape = _shape(b"".join(brackets))
    if shape is None:
        return None
    whole = not any(mark in text for mark in (b".", b"e", b"E"))
    try:
        pieces = [_numbers(piece, whole) for piece in _pieces(text, shape)]
    except (ValueError, TypeError, RuntimeError):
        # No JSON, or a number that does not fit.
        return None
    numbers = np.concatenate(pieces)
    # [] and [1] have the same brackets: the count shows the difference.
    return NumberList(text, numbers.reshape(shape)) if numbers.size == prod(shape) else None


def _pieces(text: bytes, shape: Sequence[int]) -> Iterator[bytes]:
    """
    Yield *text*, a list of *shape*, as lists of the same elements, or of those of its only element.

    Each has at most `_PIECE_BYTES` and one element more, or has spaces after its brackets; other
    threads may run between two.
    """
    axes = len(shape)
    while shape[-axes] == 1 and text[:2] == b"[[" and text[-2:] == b"]]":
        text, axes = text[1:-1], axes - 1
    element_end = b"]" * (axes - 1) + b","
    start, stop = 1, len(text) - 1
    while (end := text.find(element_end, start + _PIECE_BYTES, stop)) >= 0:
        comma = end + axes - 1
        yield b"[%b]" % text[start:comma]
        start = comma + 1
    yield b"[%b]" % text[start:stop]


def _numbers(text: bytes, whole: bool) -> np.ndarray:
    """
    Return the numbers in *text*, nested lists, as one axis: int64 if *whole*, else float64.

    Raises ValueError, TypeError or RuntimeError if *text* is no JSON or a number does not fit.
    """
    document = simdjson.Parser().parse(text)
    assert isinstance(document, simdjson.Array)  # noqa: S101 - for the types
    return np.frombuffer(
        document.as_buffer(of_type="i" if whole else "d"), np.int64 if whole else np.float64
    )


def _shape(brackets: bytes) -> tuple[int, ...] | None:
    """
    Return the shape of nested lists of which *brackets* has the brackets and commas.

    None if the lists have different lengths or more than `_MAX_AXES` axes, or are no lists.
    """
    axes = len(brackets) - len(brackets.lstrip(b"["))
    if not 1 <= axes <= _MAX_AXES:
        return None
    sizes: list[int] = []
    element = list_ = b""
    for closing in range(1, axes + 1):
        # The first run of so many closing brackets ends the first list of this axis.
        length = brackets.find(b"]" * closing) + closing - (axes - closing)
        size, odd = divmod(length - 1, len(element) + 1)
        if size < 1 or odd:
            return None
        list_ = b"[" + ((element + b",") * size)[:-1] + b"]"
        if not brackets.startswith(list_, axes - closing):
            return None
        sizes.append(size)
        element = list_
    return tuple(reversed(sizes)) if list_ == brackets else None


def _filled(content: object, lists: Mapping[str, NumberList]) -> object | None:
    """
    Return *content*, changed in place, with *lists* in place of the strings of their names.

    None if one is an element of a list, or the key of a value, which is no JSON: only a value of an
    object, or the whole text, may be one.
    """
    if isinstance(content, str):
        return lists.get(content)
    # No recursion: the text may be nested as deep as Python's stack.
    waiting = [content]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            if not lists.keys().isdisjoint(holder):
                return None
            waiting += [value for value in holder.values() if not isinstance(value, str)]
            names = [key for key, value in holder.items() if isinstance(value, str)]
            holder |= {key: lists.get(holder[key], holder[key]) for key in names}
        elif isinstance(holder, list):
            if any(isinstance(element, str) and element in lists for element in holder):
                return None
            waiting += holder
    return content
