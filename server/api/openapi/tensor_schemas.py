"""
The schemas of tensors: of which JSON values an input takes, and what an output is.

Pure.
"""

from collections.abc import Callable

import numpy as np

from model.signature import STRING, TensorSpec
from server.api.openapi.parts import FLAG, NUMBER, TEXT, Json, nullable, one_of, schema

#: What a tensor of any shape is: a value, or lists of values.
_ANY_DEPTH = "A value, or nested lists of values."

#: Returns the schema of one element of a tensor.
Element = Callable[[TensorSpec], Json]


def element_in(spec: TensorSpec) -> Json:
    """Return the schema of one element of the input *spec*."""
    if spec.dtype == STRING:
        return one_of(TEXT, schema("EncodedBytes"))
    if spec.dtype.kind == "b":
        return FLAG
    if spec.dtype.kind in "iu":
        range_ = np.iinfo(spec.dtype)
        return {"type": "integer", "minimum": int(range_.min), "maximum": int(range_.max)}
    return {**NUMBER, "description": spec.type_name}


def element_out(spec: TensorSpec) -> Json:
    """Return the schema of one element of the output *spec*; NaN and infinities are null."""
    return nullable(NUMBER) if spec.dtype.kind in "fV" else element_in(spec)


def tensor(spec: TensorSpec, element: Element) -> Json:
    """Return the schema of *spec*: nested lists, of the sizes that are fixed."""
    content = element(spec)
    if spec.shape is None:
        return {"description": _ANY_DEPTH}
    for size in reversed(spec.shape):
        content = {"type": "array", "items": content}
        if size is not None:
            content |= {"minItems": size, "maxItems": size}
    if spec.shape and spec.shape[0] is None:
        content = {**content, "minItems": 1}
    if spec.shape == (None, 1):  # a list of numbers is taken, too
        return one_of(content, {"type": "array", "items": element(spec), "minItems": 1})
    return content
