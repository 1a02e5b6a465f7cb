"""
Read single variables from a SavedModel's checkpoint, without a Session.

The graph's own restore operations state which tensor of the checkpoint a variable gets.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.backends.tensorflow.rewriting.flat_graph import FlatGraph


def variable_reader(
    folder: Path, flat: FlatGraph
) -> Callable[[str], npt.NDArray[np.generic] | None]:
    """
    Return a function that reads the variables of the SavedModel in *folder*.

    The function takes the name of a variable's node in *flat*, and returns the variable's value, or
    None if the checkpoint lacks the variable or cannot be read.  The first call opens the
    checkpoint.
    """

    @cache
    def opened() -> tuple[Any, dict[str, str]]:
        import tensorflow as tf

        try:
            return tf.train.load_checkpoint(str(folder / "variables" / "variables")), _keys(flat)
        except (tf.errors.OpError, ValueError, RuntimeError):
            return None, {}

    def read(node: str) -> npt.NDArray[np.generic] | None:
        import tensorflow as tf

        reader, keys = opened()
        key = keys.get(node)
        if reader is None or key is None or not reader.has_tensor(key):
            return None
        try:
            value: npt.NDArray[np.generic] = np.asarray(reader.get_tensor(key))
        except (tf.errors.OpError, LookupError, ValueError, RuntimeError):
            return None  # the Session that restores it reports the error
        return value

    return read


def _keys(flat: FlatGraph) -> dict[str, str]:
    """Return, for each variable node of *flat*, the name of the variable in the checkpoint."""
    import tensorflow.compat.v1 as tf

    found: dict[str, str] = {}
    for name, node in flat.nodes.items():
        if node.op not in ("AssignVariableOp", "Assign"):
            continue
        variable, value = flat.inputs(name)[:2]
        while value[0] in flat.nodes and flat.nodes[value[0]].op == "Identity":
            value = flat.inputs(value[0])[0]
        restore = flat.nodes.get(value[0])
        if restore is None or restore.op != "RestoreV2":
            continue
        names = flat.nodes[flat.inputs(value[0])[1][0]]
        if names.op == "Const":
            keys = tf.make_ndarray(names.definition.attr["value"].tensor).reshape(-1)
            found[variable[0]] = keys[value[1]].decode(errors="replace")
    return found
