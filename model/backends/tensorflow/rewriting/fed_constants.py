"""
Replace placeholders with constants, such as keep_prob of a dropout.

Pure: works on GraphDefs and runs nothing.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from model.errors import ModelError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: Values by the names of the placeholders, NODE or NODE:0.
Feeds = Mapping[str, bool | float]

PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault")


def feed_constants(graph_def: "tf.GraphDef", feeds: Feeds) -> dict[str, np.ndarray]:
    """
    Turn the placeholders that *feeds* name into constants, in place.

    Returns the constants by the names of their tensors.  Raises `ModelError` for a name that is no
    placeholder, and for a value that the placeholder's dtype or shape cannot hold.
    """
    nodes = {node.name: node for node in graph_def.node if node.op in PLACEHOLDERS}
    constants = {}
    for given, value in feeds.items():
        name = given.removesuffix(":0")
        if name not in nodes:
            near = get_close_matches(name, nodes, n=3, cutoff=0.0)
            known = f"similar names: {', '.join(near)}" if near else "it has none at all"
            raise ModelError(f"--feed {name}: the graph has no placeholder of this name; {known}")
        constants[f"{name}:0"] = _make_constant(nodes[name], value)
    return constants


def _make_constant(node: "tf.NodeDef", value: bool | float) -> np.ndarray:
    import tensorflow.compat.v1 as tf

    dtype = tf.as_dtype(node.attr["dtype"].type)
    sizes = [each.size for each in node.attr["shape"].shape.dim]
    if any(size != 1 for size in sizes):
        shape = ", ".join("?" if size < 0 else str(size) for size in sizes)
        raise ModelError(f"--feed {node.name}: takes {dtype.name}[{shape}], not a single value")
    if not (dtype.is_bool or dtype.is_floating or dtype.is_integer):
        raise ModelError(f"--feed {node.name}: takes {dtype.name}, not a number, true or false")
    with np.errstate(invalid="ignore"):
        constant = np.asarray(value).astype(dtype.as_numpy_dtype).reshape([1] * len(sizes))
    if isinstance(value, bool) != dtype.is_bool or not _is_exact(constant, value):
        raise ModelError(
            f"--feed {node.name}: expected {_describe_dtype(dtype)}, got {_format_value(value)}"
        )
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(constant, dtype))
    return constant


def _is_exact(constant: np.ndarray, value: bool | float) -> bool:
    """Whether *constant* equals *value*; always true for a float dtype, which may round *value*."""
    return constant.dtype.kind not in "iu" or float(constant.reshape(-1)[0]) == value


def _describe_dtype(dtype: "tf.DType") -> str:
    if dtype.is_bool:
        return "true or false"
    return "a whole number" if dtype.is_integer else f"a {dtype.name} number"


def _format_value(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
