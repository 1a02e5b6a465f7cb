"""
Name dtypes as TensorFlow does, and decide which JSON values each accepts.

Pure.
"""

import numpy as np

from model.signature import STRING

#: Most nested lists of a tensor.
MAX_RANK = 64

_NAMES = {
    STRING.name: "string",
    "float16": "half",
    "float32": "float",
    "float64": "double",
}


def type_name(dtype: np.dtype) -> str:
    """Return the name of *dtype* in TensorFlow's messages, such as "float" for float32."""
    return _NAMES.get(dtype.name, dtype.name)


def enum_name(dtype: np.dtype) -> str:
    """Return the name of *dtype* in TensorFlow's protocol buffers, such as DT_FLOAT."""
    return f"DT_{type_name(dtype).upper()}"


def accepts(dtype: np.dtype, value: object) -> bool:
    """Whether *value*, parsed JSON that is no list, can be an element of *dtype*."""
    if dtype == STRING:
        return isinstance(value, str)
    if dtype.kind == "b" or isinstance(value, bool):
        return dtype.kind == "b" and isinstance(value, bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return isinstance(value, int) and limits.min <= value <= limits.max
    return isinstance(value, int | float)
