"""
Convert JSON to the input arrays of a signature, and its output arrays to JSON.

Decides which JSON values an input of each dtype accepts.  It rounds no value to a whole number and
clips no value to a range, and accepts neither true, false nor a string as a number.  Pure; large
bodies are parsed and written on decode threads, small ones on the reactor thread.  May not import
Twisted.

`array_of` and `value_of` convert one tensor, for every dialect; the other functions read and write
the native dialect's envelope.  A refused value raises `FeedError`, in one short line.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from model.signature import STRING, FeedError, Signature, TensorSpec
from server.api.json_text import read_json, write_json
from server.api.number_lists import NumberList

#: The Python types of the JSON values that an input accepts, by the name of its dtype.
_ACCEPTED_TYPES: dict[str, frozenset[type]] = {
    "bool": frozenset({bool}),
    STRING.name: frozenset({str, dict}),
    **dict.fromkeys(
        ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        frozenset({int}),
    ),
    **dict.fromkeys(("float16", "bfloat16", "float32", "float64"), frozenset({int, float})),
}

#: The type of the rows that are converted directly.
_LIST = frozenset({list})

#: Most axes of a numpy array.
_MAX_RANK = 64

#: Characters of a client's value that an error message repeats.
_MAX_QUOTED_CHARS = 40

#: The array for an unknown input name, which `Signature.feed` refuses by that name.
_UNKNOWN_INPUT = np.empty(0)


def parse_request(body: bytes) -> tuple[str | None, object]:
    """
    Return the values of "signature_name" and "inputs" in *body*, a request in the native dialect.

    The first is None if the key is absent.  Raises `FeedError` for invalid JSON, with line and
    column, and for a wrong envelope.
    """
    content = read_json(body)
    if not isinstance(content, dict):
        raise FeedError(f"the body: expected an object, got {described(content)}")
    for key in content:
        if key not in {"inputs", "signature_name"}:
            raise FeedError(f"unknown key {described(key)}: the body takes inputs, signature_name")
    if "inputs" not in content:
        raise FeedError("the body has no key 'inputs'")
    name = content.get("signature_name")
    if "signature_name" in content and not isinstance(name, str):
        raise FeedError(f"signature_name: expected a string, got {described(name)}")
    return name, content["inputs"]


def arrays_of(signature: Signature, inputs: object) -> dict[str, np.ndarray]:
    """
    Return the arrays in *inputs*, by the names of the inputs.

    `Signature.feed` checks names and shapes later.  *inputs* is a JSON object of names and values;
    if *signature* has only one input, *inputs* may be the value of that input instead.  The array
    of an unknown name is empty.  Raises `FeedError` as `array_of` does, and if an output of
    *signature* cannot be written as JSON, because then the run would be useless.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    for output in signature.outputs:
        _check_carried("output", output)
    if not isinstance(inputs, dict) or (
        len(specs) == 1 and inputs.keys() == {"b64"} and "b64" not in specs
    ):
        if len(specs) != 1:
            wanted = f"an object of {len(specs)} names"
            raise FeedError(f"inputs: expected {wanted}, got {described(inputs)}")
        inputs = dict.fromkeys(specs, inputs)
    return {
        name: array_of(specs[name], value) if name in specs else _UNKNOWN_INPUT
        for name, value in inputs.items()
    }


def array_of(spec: TensorSpec, value: object, *, finite: bool = True) -> np.ndarray:
    """
    Return *value*, as `read_json` returns it, in the dtype of *spec*; its shape is not checked.

    The array is C-contiguous and a copy.  An empty list is the last axis: `[]` has shape [0].
    Integer dtypes accept whole numbers in their range, not 1.0; float dtypes accept numbers that
    stay finite, and round them to the nearest value; with *finite* false, numbers too large become
    infinities, and NaN and infinities are accepted.  Only bool accepts true and false.  A string
    becomes its bytes in UTF-8; `{"b64": "..."}` becomes any bytes.

    Raises `FeedError` with the position of the first value that does not fit; for lists that differ
    in length, are mixed with other values or are nested deeper than 64; and if *spec* has a dtype
    that JSON cannot hold.
    """
    _check_carried("input", spec)
    if isinstance(value, NumberList):
        array = _from_numbers(spec, value.array, finite)
        if array is not None:
            return array
        value = value.as_list()
    elif isinstance(value, list):
        array = _from_rows(spec, value, finite)
        if array is not None:
            return array
    # As objects first: converting directly, numpy reads true as 1, null as NaN and "1" as 1.
    leaves = np.array(value, STRING)
    # numpy iterates over 32 axes at most, but reshapes 64.
    types = set(map(type, leaves.reshape(-1).flat))
    if list in types:
        raise _ragged(spec, leaves)
    accepted = _accepted_types(spec.dtype)
    if not types <= accepted:
        raise _value_error(spec, leaves, [type(leaf) in accepted for leaf in leaves.reshape(-1)])
    if spec.dtype == STRING:
        return _strings(spec, leaves)
    if spec.dtype.kind in "iu":
        return _integers(spec, leaves)
    return leaves.astype(bool) if spec.dtype.kind == "b" else _floats(spec, leaves, finite)


def encode_outputs(outputs: Sequence[TensorSpec], arrays: Sequence[np.ndarray]) -> bytes:
    """
    Return the native dialect's answer: a JSON object of names and values, and a newline.

    *arrays* are the values of *outputs*, in the same order; each has the dtype of its output.  JSON
    can hold these dtypes: `arrays_of` has checked that before the run.
    """
    values = {spec.name: value_of(spec, array) for spec, array in zip(outputs, arrays, strict=True)}
    return write_json({"outputs": values}, newline=True)


def value_of(spec: TensorSpec, array: np.ndarray) -> object:
    """
    Return *array*, of any shape and layout, as a value for `write_json`.

    bfloat16 is written as float32, bytes as a string if they are UTF-8, else as `{"b64": "..."}`.
    The elements of an *array* of bytes may be Python objects or of numpy's dtype S; plain bytes are
    accepted as an array without axes.
    """
    if spec.dtype == STRING:
        return np.asarray(_TEXTS(np.asarray(array, STRING)), STRING).tolist()
    # orjson needs C order, and a scalar instead of an array without axes.
    return np.asarray(array, _converted_as(spec.dtype), order="C")[()]


def has_tokens(array: np.ndarray) -> bool:
    """Whether a value of *array* is NaN or an infinity, for which JSON has no number."""
    # bfloat16 has a kind of its own.
    return array.dtype.kind in "fV" and not np.isfinite(array).all()


def check_carried(signature: Signature) -> None:
    """Raise `FeedError` if an input or output of *signature* cannot be written as JSON."""
    for spec in signature.inputs:
        _check_carried("input", spec)
    for spec in signature.outputs:
        _check_carried("output", spec)


def _check_carried(side: str, spec: TensorSpec) -> None:
    if not _accepted_types(spec.dtype):
        raise FeedError(f"{side} {spec.name!r}: {spec.type_name} cannot be written as JSON")


@cache
def _accepted_types(dtype: np.dtype) -> frozenset[type]:
    """
    Return the Python types of the JSON values of *dtype*; empty if JSON cannot hold it.

    Cached, because numpy takes microseconds to find the name of a dtype.
    """
    return _ACCEPTED_TYPES.get(dtype.name, frozenset())


@cache
def _converted_as(dtype: np.dtype) -> np.dtype:
    """
    Return the dtype that is converted from and to JSON for *dtype*: float32 for bfloat16.

    Direct conversion of objects to bfloat16 accepts no whole number over 63 bits, and orjson does
    not know the dtype.
    """
    return np.dtype(np.float32) if dtype.name == "bfloat16" else dtype


@np.errstate(all="ignore")
def _from_rows(spec: TensorSpec, value: list[object], finite: bool) -> np.ndarray | None:
    """
    Return *value*, a list of values or of such lists, in the dtype of *spec*.

    None for other values and dtypes, and if a value does not fit.  The array is equal to that of
    the same values as Python objects, in half the time if the lists are short.
    """
    if spec.dtype.kind not in "biuf":
        return None
    rows: Iterable[Any] = value if _LIST.issuperset(map(type, value)) else (value,)
    if not _accepted_types(spec.dtype).issuperset(map(type, chain.from_iterable(rows))):
        return None
    try:
        array = np.array(value, spec.dtype)
    except (ValueError, OverflowError):
        return None
    return array if spec.dtype.kind != "f" or not finite or np.isfinite(array).all() else None


@np.errstate(all="ignore")
def _from_numbers(spec: TensorSpec, numbers: np.ndarray, finite: bool) -> np.ndarray | None:
    """
    Return *numbers*, int64 or float64, in the dtype of *spec*; None if a number does not fit.

    The array is equal to that of the same numbers as Python objects.
    """
    accepted = _accepted_types(spec.dtype)
    if float in accepted:
        # By float64, as Python converts an int.
        array = numbers.astype(np.float64).astype(_converted_as(spec.dtype), copy=False)
        array = array.astype(spec.dtype, copy=False)
        return array if not finite or np.isfinite(array).all() else None
    if int in accepted and numbers.dtype.kind == "i":
        range_ = np.iinfo(spec.dtype)
        if range_.min <= numbers.min() and numbers.max() <= range_.max:
            return numbers.astype(spec.dtype)
    return None


def _integers(spec: TensorSpec, leaves: np.ndarray) -> np.ndarray:
    try:
        return leaves.astype(spec.dtype)
    except OverflowError:
        range_ = np.iinfo(spec.dtype)
    raise _value_error(spec, leaves, (leaves >= range_.min) & (leaves <= range_.max))


@np.errstate(all="ignore")
def _floats(spec: TensorSpec, leaves: np.ndarray, finite: bool) -> np.ndarray:
    array = leaves.astype(_converted_as(spec.dtype)).astype(spec.dtype, copy=False)
    if finite:
        fits = np.isfinite(array)
        if not fits.all():
            raise _value_error(spec, leaves, fits)
    return array


def _strings(spec: TensorSpec, leaves: np.ndarray) -> np.ndarray:
    elements = [_bytes(leaf) for leaf in leaves.reshape(-1)]
    if None in elements:
        raise _value_error(spec, leaves, [element is not None for element in elements])
    return np.array(elements, STRING).reshape(leaves.shape)


def _bytes(leaf: object) -> bytes | None:
    """Return the bytes of *leaf* if it is a string or `{"b64": "..."}`; None if it is neither."""
    try:
        match leaf:
            case str():
                return leaf.encode()
            case {"b64": str(text), **others} if not others:
                return b64decode(text, validate=True)
    except ValueError:
        pass
    return None


def _text(element: bytes) -> str | dict[str, str]:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(element).decode()}


_TEXTS = np.frompyfunc(_text, 1, 1)


def _ragged(spec: TensorSpec, leaves: np.ndarray) -> FeedError:
    """
    Return the error for *leaves*, an array in which numpy left lists as elements.

    numpy does so if lists differ in length or depth, or are nested too deep.
    """
    if leaves.ndim == _MAX_RANK:
        return FeedError(f"input {spec.name!r}: the lists are nested deeper than {_MAX_RANK}")
    lengths = [len(leaf) if isinstance(leaf, list) else None for leaf in leaves.reshape(-1)]
    place = _position(leaves, [length == lengths[0] for length in lengths])
    return FeedError(f"input {spec.name!r}{place}: the lists differ in length or depth")


def _value_error(spec: TensorSpec, leaves: np.ndarray, fits: npt.ArrayLike) -> FeedError:
    """
    Return the error for the first element of *leaves* that does not fit *spec*.

    *fits* has one bool for each element.
    """
    if spec.dtype == STRING:
        wanted = 'strings or {"b64": "..."}'
    elif spec.dtype.kind == "b":
        wanted = "true or false"
    elif spec.dtype.kind in "iu":
        range_ = np.iinfo(spec.dtype)
        wanted = f"whole numbers from {range_.min} to {range_.max}"
    else:
        wanted = f"numbers that fit {spec.dtype}"
    got = described(leaves.reshape(-1)[np.argmin(fits)])
    return FeedError(f"input {spec.name!r}{_position(leaves, fits)}: expected {wanted}, got {got}")


def _position(leaves: np.ndarray, fits: npt.ArrayLike) -> str:
    place = ", ".join(str(step) for step in np.unravel_index(np.argmin(fits), leaves.shape))
    return f" at [{place}]" if place else ""


def described(value: object) -> str:
    """
    Describe *value*, parsed JSON, in one line for an error message, with the words of JSON.

    Examples: a list, an object, null.  The line has at most `_MAX_QUOTED_CHARS` characters.
    """
    match value:
        case list() | NumberList():
            return "a list"
        case dict():
            return "an object"
        case None:
            return "null"
        case str():
            text = repr(value[:_MAX_QUOTED_CHARS])
        case _:
            text = str(value).lower()
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[: _MAX_QUOTED_CHARS - 3]}..."
