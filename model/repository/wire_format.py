"""
Identify a protocol buffer by its fields, without a schema.

Pure.  Imports no TensorFlow: that import takes seconds, and a wrong file is refused before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from mmap import mmap

#: Wire types: a varint, and a number of bytes that follow their count.
_NUMBER, _BYTES = 0, 2
#: Bytes of the wire types that have a fixed size.
_FIXED_SIZE_BYTES = {1: 8, 5: 4}

#: Largest number of fields of a message that are examined; a graph has one field for each node.
_MAX_FIELDS = 32

_OPERATION = re.compile(rb"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


class Message(Enum):
    """The kinds of protocol buffers that hold a model or training data."""

    GRAPH_DEF = "GraphDef"
    SAVED_MODEL = "SavedModel"
    META_GRAPH_DEF = "MetaGraphDef"
    ONNX = "ONNX"
    EXAMPLE = "tf.Example"


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    kind: int  #: its wire type
    start: int  #: the position of its value in the data
    end: int
    value: int = 0  #: the number, if the field is a varint


def message_in(data: bytes | mmap) -> Message | None:
    """Return the kind of the message *data*; None if the kind is not certain."""
    try:
        return _message(data, 0, len(data))
    except (ValueError, IndexError, RecursionError):
        return None


def _message(data: bytes | mmap, start: int, end: int) -> Message | None:
    top = list(islice(_fields(data, start, end), _MAX_FIELDS))
    kinds = {(field.number, field.kind) for field in top}
    if not top:
        return None
    first = top[0]
    if (first.number, first.kind) == (1, _NUMBER):
        if {(7, _BYTES), (8, _BYTES)} <= kinds:
            return Message.ONNX
        holds = first.value == 1 and kinds == {(1, _NUMBER), (2, _BYTES)}
        return Message.SAVED_MODEL if holds and _holds_graph(data, top[1:]) else None
    graph = {(1, _BYTES), (2, _BYTES), (3, _NUMBER), (4, _BYTES)}
    if kinds <= graph and (1, _BYTES) in kinds and _is_node(data, first):
        return Message.GRAPH_DEF
    if _holds_graph(data, top):
        return Message.META_GRAPH_DEF
    return Message.EXAMPLE if kinds == {(1, _BYTES)} and _is_example(data, top) else None


def saved_variables(data: bytes | mmap) -> bool:
    """
    Whether the SavedModel in *data* has a graph with variables, which are stored in other files.
    """
    return any(
        (field.number, field.kind) == (3, _BYTES)  # the MetaGraphDef's SaverDef
        for graph in _fields(data, 0, len(data))
        if (graph.number, graph.kind) == (2, _BYTES)
        for field in _fields(data, graph.start, graph.end)
    )


def _holds_graph(data: bytes | mmap, top: list[_Field]) -> bool:
    """
    Whether a field in *top* has the number 2 and holds a GraphDef or a MetaGraphDef.

    *top* are the fields of a message in *data*.
    """
    graphs = (Message.GRAPH_DEF, Message.META_GRAPH_DEF)
    return any(
        (field.number, field.kind) == (2, _BYTES)
        and _message(data, field.start, field.end) in graphs
        for field in top
    )


def _is_node(data: bytes | mmap, field: _Field) -> bool:
    """
    Whether *field* can be a NodeDef: its first fields are a name and a possible operation name.
    """
    inner = {each.number: each for each in islice(_fields(data, field.start, field.end), 2)}
    if {1, 2} != inner.keys() or any(each.kind != _BYTES for each in inner.values()):
        return False
    return bool(_OPERATION.fullmatch(data[inner[2].start : inner[2].end]))


def _is_example(data: bytes | mmap, top: list[_Field]) -> bool:
    """
    Whether the message can be a tf.Example: its only field is a map from names to features.

    *top* are the fields of the message in *data*.
    """
    (features, *others) = top
    entries = list(islice(_fields(data, features.start, features.end), _MAX_FIELDS))
    return not others and bool(entries) and all(
        [(each.number, each.kind) for each in _fields(data, entry.start, entry.end)]
        == [(1, _BYTES), (2, _BYTES)]
        for entry in entries
    )  # fmt: skip


def _fields(data: bytes | mmap, start: int, end: int) -> Iterator[_Field]:
    """
    Yield the fields of the message that *data* holds from *start* to *end*.

    Raises ValueError or IndexError if these bytes are not a message.
    """
    at = start
    while at < end:
        tag, at = _number(data, at)
        number, kind = tag >> 3, tag & 7
        value, size = 0, 0
        if kind == _NUMBER:
            value, at = _number(data, at)
        elif kind == _BYTES:
            size, at = _number(data, at)
        elif kind in _FIXED_SIZE_BYTES:
            size = _FIXED_SIZE_BYTES[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if number == 0 or at + size > end:
            raise ValueError(f"field {number} of {size} bytes")
        yield _Field(number, kind, at, at + size, value)
        at += size


def _number(data: bytes | mmap, at: int) -> tuple[int, int]:
    """
    Return the value of the varint at the position *at*, and the position behind it.

    Raises ValueError if the varint has more than ten bytes, and IndexError if *data* ends within
    it.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
