"""
The schemas of tensors: of which JSON values an input takes, and what an output is.

Pure.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.signature import STRING, TensorSpec
from server.api.openapi.parts import FLAG, NUMBER, TEXT, Json, nullable, one_of, schema

#: What a tensor of any shape is: a value, or lists of values.
_ANY_DEPTH = "A value, or nested lists of values."

#: Returns the schema of one element of a tensor.
Element = Callable[[TensorSpec], Json]


def element_in(spec: TensorSpec) -> Json:
    """Return the schema of one element of the input *spec*, for a dialect with infinities."""
    if spec.dtype == STRING:
        return one_of(TEXT, schema("EncodedBytes"))
    if spec.dtype.kind == "b":
        return FLAG
    if spec.dtype.kind in "iu":
        range_ = np.iinfo(spec.dtype)
        return {"type": "integer", "minimum": int(range_.min), "maximum": int(range_.max)}
    return {**NUMBER, "description": spec.type_name}


def finite_element_in(spec: TensorSpec) -> Json:
    """Return the schema of one element of the input *spec*, for a dialect without infinities."""
    element = element_in(spec)
    if spec.dtype.kind != "f" or spec.dtype.itemsize == 8:
        return element
    facts = np.finfo(spec.dtype)
    # Numbers from here on are rounded to an infinity.
    limit = (2 - 2.0 ** -(facts.nmant + 1)) * 2.0 ** (int(facts.maxexp) - 1)
    return {**element, "exclusiveMinimum": -limit, "exclusiveMaximum": limit}


def element_out(spec: TensorSpec) -> Json:
    """Return the schema of one element of the output *spec*; NaN and infinities are null."""
    return nullable(NUMBER) if spec.dtype.kind in "fV" else element_in(spec)


def _lists(shape: Sequence[int | None], content: Json) -> Json:
    """Return the schema of nested lists of *shape*, of which each element is *content*."""
    for size in reversed(shape):
        sizes = {} if size is None else {"minItems": size, "maxItems": size}
        content = {"type": "array", "items": content, **sizes}
    return content


def row(spec: TensorSpec, element: Element) -> Json:
    """Return the schema of one row of *spec*, which has a batch axis."""
    content = element(spec)
    lists = _lists(spec.row_shape, content)
    return one_of(lists, content) if spec.row_shape == (1,) else lists


def tensor(spec: TensorSpec, element: Element) -> Json:
    """Return the schema of *spec*: nested lists, of the sizes that are fixed."""
    if spec.shape is None:
        return {"description": _ANY_DEPTH}
    content = _lists(spec.shape, element(spec))
    if spec.shape and spec.shape[0] is None:
        content = {**content, "minItems": 1}
    if spec.shape == (None, 1):  # a list of numbers is taken, too
        return one_of(content, {"type": "array", "items": element(spec), "minItems": 1})
    return content
