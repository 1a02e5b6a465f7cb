"""
Read the examples of classify and regress, and make the feed of a signature of them.

A signature with strings as its only input takes each example as a serialised tf.train.Example; any
other signature takes the features that have the names of its inputs.  Pure.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from model.signature import STRING, Signature, TensorSpec
from server.api.json_tensors import array_of
from server.api.json_text import as_list
from server.api.tfserving.base64_values import base64_bytes, is_base64
from server.api.tfserving.errors import invalid
from server.api.tfserving.shown_json import kind_of
from server.http.limits import BodyTooLarge

Kind = Literal["bytes", "float", "int64"]

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


@dataclass(frozen=True, slots=True)
class Feature:
    """The values of one feature."""

    kind: Kind | None  #: None without values
    values: Sequence[bytes | float]


#: The features of one example, by name.
Example = Mapping[str, Feature]


def example_in(value: object) -> dict[str, Feature]:
    """Return the features in *value*, a JSON object; raises a 400 for any other value."""
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind_of(value)}")
    return {name: _feature(name, content) for name, content in value.items()}


def _feature(name: str, content: object) -> Feature:
    items = as_list(content)
    kind: Kind | None = None
    values = []
    for item in [content] if items is None else items:
        its_kind, value = _value(name, item)
        if its_kind != (kind or its_kind):
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
        kind = its_kind
        values.append(value)
    return Feature(kind, values)


def _value(name: str, item: object) -> tuple[Kind, bytes | float]:
    match item:
        case str():
            return "bytes", item.encode(errors="replace")
        case bool():
            return "int64", item
        case int() if item in _INT64:
            return "int64", item
        case int() if item in _UINT64:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        case int() | float():
            return "float", float(item)
        case dict() if is_base64(item):
            data = base64_bytes(item["b64"])
            if data is None:
                raise invalid("Unable to base64 decode")
            return "bytes", data
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {kind_of(item)}")


def with_context(
    context: dict[str, Feature], examples: Sequence[dict[str, Feature]], max_bytes: int
) -> Sequence[Example]:
    """
    Return *examples* with the features of *context*, which those of an example replace.

    Raises `BodyTooLarge` if *context*, once for each example, has more than *max_bytes*.
    """
    size = len(serialised(context)) * len(examples)
    if size > max_bytes:
        raise BodyTooLarge(
            f"the context has {size} bytes, once for each example; the limit is {max_bytes}"
        )
    return [ChainMap(example, context) for example in examples]


def arrays_of_examples(signature: Signature, examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """
    Return the arrays of *examples*, a row each, by the names of the inputs of *signature*.

    Raises a 400 for an example without the feature that an input needs, and `FeedError` as
    `array_of` does.
    """
    first = signature.inputs[0]
    if len(signature.inputs) == 1 and first.dtype == STRING:
        return {first.name: np.array([serialised(each) for each in examples], STRING)}
    return {spec.name: _column(spec, examples) for spec in signature.inputs}


def _column(spec: TensorSpec, examples: Sequence[Example]) -> np.ndarray:
    """Return the values of the feature that *spec* is named for, a row for each example."""
    rows: list[Sequence[bytes | float]] = []
    for at, example in enumerate(examples):
        feature = example.get(spec.name)
        if feature is None:
            raise invalid(f"Example {at} has no feature {spec.name!r}, which the signature takes")
        if (feature.kind == "bytes") != (spec.dtype == STRING):
            raise invalid(
                f"Example {at}: feature {spec.name!r} is {feature.kind or 'empty'}, "
                f"the signature takes {spec.type_name}"
            )
        rows.append(feature.values)
        if len(feature.values) != len(rows[0]):
            raise invalid(
                f"Example {at}: feature {spec.name!r} has {len(feature.values)} values, "
                f"that of example 0 has {len(rows[0])}"
            )
    is_string = spec.dtype == STRING
    array = np.array(rows, STRING) if is_string else array_of(spec, rows, finite=False)
    # A feature is always a list; a row of one number may be a number.
    return array[:, 0] if spec.row_shape == () and array.shape[1] == 1 else array


# --- the wire format of tf.train.Example


def serialised(example: Example) -> bytes:
    """Return *example* as a serialised tf.train.Example."""
    entries = [
        _field(1, _field(1, name.encode(errors="replace")) + _field(2, _list_of(feature)))
        for name, feature in example.items()
    ]
    return _field(1, b"".join(entries))


def _list_of(feature: Feature) -> bytes:
    """Return the message tf.train.Feature: one list, of the kind of *feature*."""
    match feature.kind:
        case "bytes":
            return _field(1, b"".join(_field(1, cast("bytes", value)) for value in feature.values))
        case "float":
            with np.errstate(over="ignore"):  # a number too large becomes an infinity
                return _field(2, _field(1, np.array(feature.values).astype("<f4").tobytes()))
        case "int64":
            return _field(3, _field(1, b"".join(_varint(int(value)) for value in feature.values)))
        case None:
            return b""


def _field(number: int, data: bytes) -> bytes:
    """Return the field *number* with *data* of a variable length."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Return *value*, of 64 bits, in groups of seven bits, the lowest first."""
    rest = value & 0xFFFF_FFFF_FFFF_FFFF
    groups = bytearray()
    while rest > 0x7F:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    groups.append(rest)
    return bytes(groups)
