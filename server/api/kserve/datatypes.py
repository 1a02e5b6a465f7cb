"""
The datatypes of the v2 protocol, and tensors as bytes: little-endian, row-major, unpadded.

A tensor of bytes has, for each element, its length as 4 bytes and then the element.  Pure; large
tensors of bytes are read and written on decode threads.
"""

from collections.abc import Sequence
from functools import cache
from math import prod
from struct import Struct

import numpy as np

from model.signature import STRING, FeedError

#: The datatypes by the names of their dtypes in numpy; `STRING` is BYTES.
_NAMES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    STRING.name: "BYTES",
}

#: All datatypes.
DATATYPES = frozenset(_NAMES.values())

#: The datatypes whose values JSON does not carry in this protocol.
BINARY_ONLY = frozenset({"FP16", "BF16"})

#: Most axes of a tensor: those of numpy.
MAX_AXES = 64

_LENGTH = Struct("<I")


@cache
def datatype_of(dtype: np.dtype) -> str:
    """Return the datatype of *dtype*; the name of *dtype* if the protocol has none for it."""
    return _NAMES.get(dtype.name, dtype.name)


def reshaped(array: np.ndarray, shape: Sequence[int], name: str) -> np.ndarray:
    """
    Return *array* in *shape*, without a copy if it is contiguous.

    Raises `FeedError`, for the tensor *name*, if *shape* has another number of elements.
    """
    if prod(shape) != array.size:
        raise FeedError(
            f"unable to fill input {name!r} of shape {list(shape)} with {array.size} values"
        )
    try:
        return array.reshape(shape)
    except ValueError:  # no elements, and axes over the limits of numpy
        raise FeedError(f"shape {list(shape)} of input {name!r} is too large") from None


def from_bytes(
    name: str, dtype: np.dtype, shape: Sequence[int], body: bytes, start: int, stop: int
) -> np.ndarray:
    """
    Return the tensor in the bytes of *body* from *start* to *stop*, without *stop*.

    It is a view of *body*, at any address, unless it is a tensor of strings.  Raises `FeedError` if
    the bytes are not those of a tensor of this dtype and shape.
    """
    if dtype == STRING:
        return reshaped(_elements(name, prod(shape), body, start, stop), shape, name)
    expected = prod(shape) * dtype.itemsize
    if stop - start != expected:
        raise FeedError(
            f"unexpected total byte size {stop - start} for input {name!r}, expecting {expected}"
        )
    if dtype.kind == "b":
        raw = np.frombuffer(body, np.uint8, stop - start, start)
        if raw.max(initial=0) > 1:
            raise FeedError(f"input {name!r}: a BOOL is a byte of 0 or 1, got {raw.max()}")
        return reshaped(raw.view(dtype), shape, name)
    return reshaped(np.frombuffer(body, dtype, prod(shape), start), shape, name)


def _elements(name: str, count: int, body: bytes, start: int, stop: int) -> np.ndarray:
    """Return the *count* elements of a tensor of strings, as an array of one axis."""
    elements: list[bytes] = []
    at = start
    while at < stop and len(elements) < count:
        begin = at + _LENGTH.size
        at = begin + _LENGTH.unpack_from(body, at)[0] if begin <= stop else stop + 1
        if at > stop:
            raise FeedError(
                f"input {name!r}: element {len(elements)} exceeds the {stop - start} bytes of "
                "the tensor"
            )
        elements.append(body[begin:at])
    if at != stop or len(elements) != count:
        more = f"and {stop - at} bytes more" if at != stop else f"in {stop - start} bytes"
        raise FeedError(
            f"expected {count} string elements for input {name!r}, got {len(elements)} {more}"
        )
    array = np.empty(count, STRING)
    array[:] = elements
    return array


def to_bytes(array: np.ndarray) -> bytes | memoryview:
    """Return the bytes of *array*; a view of its memory if that is contiguous and no strings."""
    if array.dtype != STRING:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    pieces: list[bytes] = []
    for element in array.reshape(-1):
        pieces += (_LENGTH.pack(len(element)), element)
    return b"".join(pieces)
