"""
Find the first value of a predict request that is wrong, and describe it as TensorFlow Serving does.

Values are checked in its order: row after row, the keys of a row in their order; only the first
`MAX_CHECKED_VALUES`, each of which takes microseconds.  Called only for requests that cannot be
converted.  Pure.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import prod

from model.signature import STRING, Signature, TensorSpec
from server.api.json_text import as_list
from server.api.tfserving.base64_values import base64_bytes, is_base64
from server.api.tfserving.errors import invalid
from server.api.tfserving.shown_json import kind_of, shown
from server.api.tfserving.tensor_types import MAX_RANK, accepts, type_name

#: The most values and lists that are checked, in about 0.3 s.
MAX_CHECKED_VALUES = 100_000


class _Refused(Exception):
    """A value is wrong; the message states how."""


class _TooMany(Exception):
    """`MAX_CHECKED_VALUES` are checked."""


def _left_to_check() -> Iterator[int]:
    yield from range(MAX_CHECKED_VALUES)
    raise _TooMany


def check_rows(signature: Signature, rows: Sequence[object]) -> None:
    """Raise the 400 for the first of *rows* that is wrong; return if none is found."""
    with suppress(_TooMany):
        _check_rows(signature, rows)


def _check_rows(signature: Signature, rows: Sequence[object]) -> None:
    left = _left_to_check()
    specs = {spec.name: spec for spec in signature.inputs}
    shapes: dict[str, tuple[int, ...]] = {}
    of_objects = _is_object(rows[0])
    for at, row in enumerate(rows):
        if of_objects != _is_object(row):
            problem = (
                f"Expecting object but got list at item {at} of input list"
                if of_objects
                else f"Expecting value/list but got object at item {at} of input list"
            )
            raise invalid(problem)
        where = f"Failed to process element: {at}"
        values = row.items() if of_objects and isinstance(row, dict) else [("", row)]
        for name, value in values:
            key = f" key: {name}" if of_objects else ""
            try:
                spec = signature.inputs[0] if not of_objects else specs.get(name)
                _check_value(spec, name, value, shapes, left)
            except _Refused as error:
                # The name of the kind is a part of the texts.
                raise invalid(
                    f"{where}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
                ) from None
        if of_objects and isinstance(row, dict) and row.keys() != specs.keys():
            raise invalid(
                f"{where} of 'instances' list. JSON object: {shown(row)} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )


def _check_value(
    spec: TensorSpec | None,
    name: str,
    value: object,
    shapes: dict[str, tuple[int, ...]],
    left: Iterator[int],
) -> None:
    """
    Check the *value* of the input *spec* in a row; *shapes* has the shapes of the rows before it.

    *left* is as in `_check_part`.
    """
    if spec is None:
        raise _Refused(f"JSON object: does not have named input: {name}")
    shape = _checked(spec, value, left)
    _check_equal(shapes.setdefault(spec.name, shape), shape)


def check_column(spec: TensorSpec, value: object) -> None:
    """Raise the 400 for the first part of *value*, that of *spec*, that is wrong, if any is."""
    try:
        with suppress(_TooMany):
            _checked(spec, value, _left_to_check())
    except _Refused as error:
        raise invalid(str(error)) from None


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _check_equal(first: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise `_Refused` if *shape*, that of a row, differs from that of the *first* row."""
    if prod(first) != prod(shape):
        raise _Refused(f"Expecting tensor size: {prod(first)} but got: {prod(shape)}")
    if first != shape:
        raise _Refused(f"Expecting shape {_listed(first)} but got: {_listed(shape)}")


def _listed(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _checked(spec: TensorSpec, value: object, left: Iterator[int]) -> tuple[int, ...]:
    """
    Return the shape of *value*; raises `_Refused` for the first part that does not fit.

    A value of more than `MAX_RANK` nested lists is left to the error of `array_of`.
    """
    shape: list[int] = []
    first = value
    while (items := as_list(first)) is not None and len(shape) <= MAX_RANK:
        shape.append(len(items))
        first = items[0] if items else None
    if len(shape) <= MAX_RANK:
        _check_part(spec, value, 0, shape, left)
    return tuple(shape)


def _check_part(
    spec: TensorSpec, value: object, level: int, shape: Sequence[int], left: Iterator[int]
) -> None:
    """
    Check *value*, a part of a tensor of *shape* at this *level* of its lists.

    Takes one from *left* for each part; raises its `_TooMany` after the last.
    """
    next(left)
    items = as_list(value)
    if items is None:
        if level != len(shape):
            raise _Refused(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        _check_leaf(spec, value)
        return
    if level >= len(shape):
        raise _Refused(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(items) != shape[level]:
        raise _Refused(
            f"Encountered list at unexpected size: {len(items)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in items:
        _check_part(spec, item, level + 1, shape, left)


def _check_leaf(spec: TensorSpec, value: object) -> None:
    if spec.dtype == STRING and isinstance(value, dict):
        if not is_base64(value):
            raise _Refused(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
        if base64_bytes(value["b64"]) is None:
            raise _Refused("Unable to base64 decode")
    elif not accepts(spec.dtype, value):
        raise _Refused(
            f"JSON Value: {shown(value)} Type: {kind_of(value)} "
            f"is not of expected type: {type_name(spec.dtype)}"
        )
