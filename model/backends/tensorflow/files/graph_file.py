"""
Read a frozen GraphDef, and find the tensors in it that are served.

Opens no Session; TensorFlow only puts the graph together, to tell shapes.
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
from model.repository.file_formats import format_of, text_format_of
from model.repository.model_toml import ModelFacts
from model.signature import TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: What requests that name a signature call that of a graph, which has no name for it.
SIGNATURE = "serving_default"

#: What a retrained graph calls its output.
FINAL_RESULT = "final_result"


@dataclass(frozen=True, slots=True)
class FrozenGraph:
    """A graph file, and which of its tensors are served."""

    path: Path
    graph_def: "tf.GraphDef"
    input: str  #: NODE:OUTPUT
    output: str
    spec: TensorSpec  #: of the input, as the graph has it
    output_spec: TensorSpec

    @property
    def scalar_string(self) -> bool:
        """Whether it takes one encoded image; some files do not say that it is only one."""
        return self.spec.type_name == "string" and not self.spec.shape

    def connect(self, given: "tf.Tensor") -> "tf.Tensor":
        """Put the graph behind *given*, which takes the place of its input."""
        return _imported(self.path, self.graph_def, self.output, given, self.input)


def read_frozen_graph(path: Path, facts: ModelFacts) -> FrozenGraph:
    """
    Return the graph in *path*, and the tensors that *facts* name or that stand out.

    Raises `ModelError` for a file that holds none, for a tensor that is not there or has to be
    named, and where *facts* name a signature that no graph has.
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
    """Return what there is to know of *tensor*."""
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(tensor.op.name, np.dtype(tensor.dtype.as_numpy_dtype), shape)


def read_graph_def(path: Path) -> "tf.GraphDef":
    """Return the GraphDef in *path*; raises `ModelError` where it holds none."""
    import tensorflow.compat.v1 as tf
    from google.protobuf.message import DecodeError

    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        reason = _other_format(path) or f"not a frozen GraphDef, or cut short ({error})"
        raise ModelError(f"{path}: {reason}") from error
    if not graph_def.node:
        reason = _other_format(path) or "not a frozen GraphDef: it holds no nodes"
        raise ModelError(f"{path}: {reason}")
    variables = [node.name for node in graph_def.node if node.op in ("VariableV2", "VarHandleOp")]
    if variables:
        more = f", and {len(variables) - 1} more" if len(variables) > 1 else ""
        raise ModelError(f"{path}: not frozen: the variable {variables[0]!r} has no value{more}")
    return graph_def


def _other_format(path: Path) -> str:
    """Return what the file is instead of a graph; empty where nothing is known."""
    found = format_of(path) or text_format_of(path)
    return f"{found.what}, not a frozen graph" if found else ""


def _default_input(path: Path, graph_def: "tf.GraphDef", output: str) -> str:
    """Return the only placeholder that takes more than a number, or else what is decoded."""
    names = [str(node.name) for node in graph_def.node if node.op == "Placeholder"]
    if len(names) == 1:
        return names[0]
    nodes = {node.name: node for node in graph_def.node}
    wanted = needed(nodes, output)
    taking = [name for name in names if name in wanted and not _takes_single_value(nodes[name])]
    if len(taking) == 1:
        return taking[0]
    # The file of the first Inception holds an empty constant where the image is to be fed.
    encoded = [str(node.input[0]) for node in graph_def.node if DECODES_IMAGES.fullmatch(node.op)]
    if len(encoded) == 1:
        return encoded[0]
    found = ", ".join(names) or "none"
    raise ModelError(f"{path}: --input-layer is needed: the graph's placeholders are {found}")


def _check_placeholders(path: Path, graph_def: "tf.GraphDef", given: str, output: str) -> None:
    """Raise `ModelError` where the output hangs on more placeholders than the input."""
    nodes = {node.name: node for node in graph_def.node}
    wanted = needed(nodes, output, given)
    others = [node for node in graph_def.node if node.op == "Placeholder" and node.name in wanted]
    if others:
        listed = ", ".join(f"{node.name!r} ({_type_of(node)})" for node in others)
        value = "false" if _type_of(others[0]) == "bool" else "1.0"
        if not all(map(_takes_single_value, others)):
            raise ModelError(
                f"{path}: {output} also needs {listed}: a frozen graph is served with one input; "
                "export a SavedModel, whose signature has several"
            )
        raise ModelError(
            f"{path}: {output} also needs a value for {listed}: give it with "
            f"--feed {others[0].name}={value}, or in the table [feeds] of model.toml"
        )


def _takes_single_value(node: "tf.NodeDef") -> bool:
    """Whether a placeholder may take one number or bool, as keep_prob and phase_train do."""
    sizes = [each.size for each in node.attr["shape"].shape.dim]
    return _type_of(node) != "string" and all(size == 1 for size in sizes)


def _type_of(node: "tf.NodeDef") -> str:
    import tensorflow.compat.v1 as tf

    name: str = tf.as_dtype(node.attr["dtype"].type).name
    return name


def _default_output(path: Path, graph_def: "tf.GraphDef") -> str:
    """Return the output that retraining makes, or else the only node that nothing hangs on."""
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
    raise ModelError(f"{path}: --output-layer is needed: the graph's ends are {found}")


def _tensor_name(path: Path, graph_def: "tf.GraphDef", name: str) -> str:
    """Return *name* as NODE:OUTPUT, where the graph has such a node."""
    node, _, output = name.partition(":")
    names = [each.name for each in graph_def.node]
    if node not in names:
        near = get_close_matches(node, names, n=3, cutoff=0.4) or names[-3:]
        raise ModelError(f"{path}: no tensor {name!r}; near it: {', '.join(near)}")
    if output and not output.isdigit():
        raise ModelError(f"{path}: {name!r} is no tensor: expected NAME or NAME:0")
    return f"{node}:{output or 0}"


def _imported(
    path: Path,
    graph_def: "tf.GraphDef",
    name: str,
    given: "tf.Tensor | None" = None,
    fed: str = "",
) -> "tf.Tensor":
    """Return the tensor *name* of *graph_def*, put into the default graph, *given* for *fed*."""
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
