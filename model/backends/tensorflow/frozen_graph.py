"""
Read a frozen GraphDef and put the cast and the normalisation of its pictures into the graph.

The picture then travels as uint8, a quarter of the bytes, and Python never touches its pixels.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from model.runner import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow.compat.v1 as tf


@dataclass(frozen=True, slots=True)
class FrozenGraphOptions:
    """What the file cannot say of itself."""

    input_layer: str | None = None  #: NAME or NAME:0; None finds the only placeholder
    output_layer: str = "final_result:0"
    height: int | None = None  #: pixels; None where the graph fixes it
    width: int | None = None
    mean: float = 0.0  #: a float input gets (pixel - mean) / std
    std: float = 255.0


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """A graph that takes uint8 pictures [rows, height, width, 3] and gives scores [rows, n]."""

    graph: "tf.Graph"
    images: "tf.Tensor"
    scores: "tf.Tensor"


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
        raise ModelError(f"{path}: not a frozen GraphDef, or cut short ({error})") from error
    if not graph_def.node:
        raise ModelError(f"{path}: not a frozen GraphDef: it holds no nodes")
    variables = [node.name for node in graph_def.node if node.op in ("VariableV2", "VarHandleOp")]
    if variables:
        more = f", and {len(variables) - 1} more" if len(variables) > 1 else ""
        raise ModelError(f"{path}: not frozen: the variable {variables[0]!r} has no value{more}")
    return graph_def


def serving_graph(path: Path, options: FrozenGraphOptions) -> ServingGraph:
    """
    Return the graph of *path*, fed with uint8 pictures.

    Raises `ModelError` for a tensor that is not there, an input that is not a batch of pictures,
    or a size that neither the graph nor *options* gives.
    """
    import tensorflow.compat.v1 as tf

    graph_def = read_graph_def(path)
    input_name = _tensor_name(path, graph_def, options.input_layer or _only_placeholder(graph_def))
    output_name = _tensor_name(path, graph_def, options.output_layer)
    shape, dtype = _picture_shape(path, graph_def, input_name, options)
    graph = tf.Graph()
    with graph.as_default():
        images = tf.placeholder(tf.uint8, shape, name="tensorferry_images")
        pictures = images
        if dtype != tf.uint8:
            pictures = (tf.cast(images, tf.float32) - options.mean) / options.std
            pictures = tf.cast(pictures, dtype)
        scores = _imported(path, graph_def, output_name, {input_name: pictures})
    if not (scores.dtype.is_floating or scores.dtype.is_integer):
        raise ModelError(f"{path}: {output_name!r} gives {scores.dtype.name}, expected numbers")
    return ServingGraph(graph, images, scores)


def _only_placeholder(graph_def: "tf.GraphDef") -> str:
    names: list[str] = [node.name for node in graph_def.node if node.op == "Placeholder"]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ModelError(f"--input-layer is needed: the graph's placeholders are {found}")
    return names[0]


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
    path: Path, graph_def: "tf.GraphDef", name: str, inputs: "Mapping[str, tf.Tensor]"
) -> "tf.Tensor":
    """Return the tensor *name* of *graph_def*, put into the default graph and fed with *inputs*."""
    import tensorflow.compat.v1 as tf

    try:
        (tensor,) = tf.import_graph_def(
            graph_def, input_map=dict(inputs), return_elements=[name], name=""
        )
    except (ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{path}: {str(error).splitlines()[0]}") from error
    return tensor


def _picture_shape(
    path: Path, graph_def: "tf.GraphDef", input_name: str, options: FrozenGraphOptions
) -> tuple[list[int | None], "tf.DType"]:
    """Return [rows or None, height, width, 3] and the dtype that the graph's own input has."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        tensor = _imported(path, graph_def, input_name, {})
    if tensor.dtype == tf.string:
        raise ModelError(
            f"{path}: {input_name!r} takes encoded pictures as strings, and only graphs that take "
            "pixels [rows, height, width, 3] are served; --input-layer names another tensor"
        )
    if tensor.dtype not in (tf.uint8, tf.float16, tf.bfloat16, tf.float32, tf.float64):
        raise ModelError(f"{path}: {input_name!r} is {tensor.dtype.name}, not uint8 or a float")
    sizes = tensor.shape.as_list() if tensor.shape.rank is not None else [None, None, None, 3]
    if len(sizes) != 4 or sizes[3] not in (None, 3):
        raise ModelError(
            f"{path}: {input_name!r} has shape {sizes}, expected [rows, height, width, 3]"
        )
    rows, height, width = sizes[0], sizes[1] or options.height, sizes[2] or options.width
    if rows not in (None, 1):
        raise ModelError(f"{path}: {input_name!r} fixes a batch of {rows} rows, expected any or 1")
    if height is None or width is None:
        raise ModelError(
            f"{path}: --input-height and --input-width are needed: the graph says {sizes}"
        )
    for name, fixed, asked in (
        ("height", sizes[1], options.height),
        ("width", sizes[2], options.width),
    ):
        if None not in (fixed, asked) and fixed != asked:
            raise ModelError(f"{path}: --input-{name} is {asked}, but the graph fixes {fixed}")
    return [rows, height, width, 3], tensor.dtype
