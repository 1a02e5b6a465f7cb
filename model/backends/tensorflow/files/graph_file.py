"""
Read a frozen GraphDef, and find its input and output tensors.

Opens no Session; TensorFlow only builds the graph, to infer shapes.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.operations import DECODES_IMAGES
from model.backends.tensorflow.rewriting.fed_constants import feed_constants
from model.backends.tensorflow.rewriting.graph_cut import needed
from model.errors import ModelError
from model.repository.file_checks import other_format
from model.repository.model_toml import ModelFacts
from model.signature import TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: The name in requests for the only signature of a frozen graph; the file stores no name.
SIGNATURE = "serving_default"

#: The name of the output in graphs that TensorFlow's retrain.py writes.
FINAL_RESULT = "final_result"


@dataclass(frozen=True, slots=True)
class FrozenGraph:
    """A graph file, and its input and output tensors."""

    path: Path
    graph_def: "tf.GraphDef"
    input: str  #: NODE:OUTPUT
    output: str  #: NODE:OUTPUT
    spec: TensorSpec  #: of the input, as the file states it
    output_spec: TensorSpec

    @property
    def scalar_string(self) -> bool:
        """Whether the input is a single string, or a string of unknown shape."""
        return self.spec.type_name == "string" and not self.spec.shape

    def connect(self, given: "tf.Tensor") -> "tf.Tensor":
        """Import the graph into the default graph with *given* as its input; return the output."""
        return _imported(self.path, self.graph_def, self.output, given, self.input)


def read_frozen_graph(path: Path, facts: ModelFacts) -> FrozenGraph:
    """
    Return the graph in *path* with the input and output that *facts* name, or else the likely ones.

    Raises `ModelError` if the file has no frozen graph, if a named tensor is absent, if an input or
    output is neither named nor found, and if *facts* name a signature other than `SIGNATURE`.
    """
    import tensorflow.compat.v1 as tf

    if facts.signature not in (None, SIGNATURE):
        raise ModelError(
            f"{path}: no signature {facts.signature!r}: a frozen graph has only {SIGNATURE!r}"
        )
    graph_def = read_graph_def(path)
    feed_constants(graph_def, facts.feeds)
    output_name = _tensor_name(path, graph_def, facts.output or _default_output(path, graph_def))
    named = facts.input or _default_input(path, graph_def, output_name)
    input_name = _tensor_name(path, graph_def, named)
    with tf.Graph().as_default():
        spec = spec_of(_imported(path, graph_def, input_name))
    with tf.Graph().as_default():
        output_spec = spec_of(_imported(path, graph_def, output_name))
    _check_placeholders(path, graph_def, input_name, output_name)
    return FrozenGraph(path, graph_def, input_name, output_name, spec, output_spec)


def spec_of(tensor: "tf.Tensor") -> TensorSpec:
    """Return the name, dtype and shape of *tensor*."""
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(tensor.op.name, np.dtype(tensor.dtype.as_numpy_dtype), shape)


def read_graph_def(path: Path) -> "tf.GraphDef":
    """Return the GraphDef in *path*; raises `ModelError` for any other file."""
    import tensorflow.compat.v1 as tf
    from google.protobuf.message import DecodeError

    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        reason = other_format(path) or f"not a frozen GraphDef, or cut short ({error})"
        raise ModelError(f"{path}: {reason}") from error
    if not graph_def.node:
        reason = other_format(path) or "not a frozen GraphDef: it holds no nodes"
        raise ModelError(f"{path}: {reason}")
    variables = [node.name for node in graph_def.node if node.op in ("VariableV2", "VarHandleOp")]
    if variables:
        more = f", and {len(variables) - 1} more" if len(variables) > 1 else ""
        raise ModelError(f"{path}: not frozen: no value for the variable {variables[0]!r}{more}")
    return graph_def


def _default_input(path: Path, graph_def: "tf.GraphDef", output: str) -> str:
    """
    Return the name of the input of a graph for which none was named.

    It is the only placeholder; else the only placeholder that *output* depends on and that takes
    more than a single value; else the input of the only image decoder.  Raises `ModelError` if
    there is none of these.
    """
    names = [str(node.name) for node in graph_def.node if node.op == "Placeholder"]
    if len(names) == 1:
        return names[0]
    nodes = {node.name: node for node in graph_def.node}
    wanted = needed(nodes, output)
    taking = [name for name in names if name in wanted and not _takes_single_value(nodes[name])]
    if len(taking) == 1:
        return taking[0]
    # The file of the first Inception has an empty constant as the input for the image.
    encoded = [str(node.input[0]) for node in graph_def.node if DECODES_IMAGES.fullmatch(node.op)]
    if len(encoded) == 1:
        return encoded[0]
    found = ", ".join(names) or "none"
    raise ModelError(f"{path}: --input-layer is needed: the graph's placeholders are {found}")


def _check_placeholders(path: Path, graph_def: "tf.GraphDef", given: str, output: str) -> None:
    """Raise `ModelError` if *output* depends on placeholders other than *given*, the input."""
    nodes = {node.name: node for node in graph_def.node}
    wanted = needed(nodes, output, given)
    others = [node for node in graph_def.node if node.op == "Placeholder" and node.name in wanted]
    if others:
        listed = ", ".join(f"{node.name!r} ({_type_of(node)})" for node in others)
        value = "false" if _type_of(others[0]) == "bool" else "1.0"
        if not all(map(_takes_single_value, others)):
            raise ModelError(
                f"{path}: {output} also needs {listed}: a frozen graph is served with one input; "
                "export a SavedModel, which can have several"
            )
        raise ModelError(
            f"{path}: {output} also needs a value for {listed}: give it with "
            f"--feed {others[0].name}={value}, or in the table [feeds] of model.toml"
        )


def _takes_single_value(node: "tf.NodeDef") -> bool:
    """Whether *node*, a placeholder such as keep_prob or phase_train, can be one number or bool."""
    sizes = [each.size for each in node.attr["shape"].shape.dim]
    return _type_of(node) != "string" and all(size == 1 for size in sizes)


def _type_of(node: "tf.NodeDef") -> str:
    import tensorflow.compat.v1 as tf

    name: str = tf.as_dtype(node.attr["dtype"].type).name
    return name


def _default_output(path: Path, graph_def: "tf.GraphDef") -> str:
    """Return `FINAL_RESULT` if a node has this name, else the only node that no other node uses."""
    names = {node.name for node in graph_def.node}
    if FINAL_RESULT in names:
        return FINAL_RESULT
    taken = {each.lstrip("^").partition(":")[0] for node in graph_def.node for each in node.input}
    ends = [
        str(node.name)
        for node in graph_def.node
        if node.name not in taken and node.input and node.op not in ("NoOp", "Assert")
    ]
    if len(ends) == 1:
        return ends[0]
    found = ", ".join(ends[:8]) or "none"
    raise ModelError(f"{path}: --output-layer is needed: the graph's possible outputs are {found}")


def _tensor_name(path: Path, graph_def: "tf.GraphDef", name: str) -> str:
    """Return *name* as NODE:OUTPUT; raises `ModelError` if the graph has no such node."""
    node, _, output = name.partition(":")
    names = [each.name for each in graph_def.node]
    if node not in names:
        near = get_close_matches(node, names, n=3, cutoff=0.4) or names[-3:]
        raise ModelError(f"{path}: no tensor {name!r}; similar names: {', '.join(near)}")
    if output and not output.isdigit():
        raise ModelError(f"{path}: {name!r} is not a tensor name: expected NAME or NAME:0")
    return f"{node}:{output or 0}"


def _imported(
    path: Path,
    graph_def: "tf.GraphDef",
    name: str,
    given: "tf.Tensor | None" = None,
    fed: str = "",
) -> "tf.Tensor":
    """
    Import *graph_def* into the default graph, and return its tensor *name*.

    *given*, if not None, replaces the tensor *fed*.  Raises `ModelError`, with *path* in the
    message, if the graph cannot be imported.
    """
    import tensorflow.compat.v1 as tf

    try:
        (tensor,) = tf.import_graph_def(
            graph_def,
            input_map={} if given is None else {fed: given},
            return_elements=[name],
            name="",
        )
    except (ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{path}: {str(error).splitlines()[0]}") from error
    return tensor
