"""
Rewrite the part of a graph behind a tensor so that it takes any number of rows, not one.

Pure: works on GraphDefs and on the shapes that the graph's tensors had with a single row, and
runs nothing.  The caller checks that the rewritten part still gives each row its former result.

Only nodes that fix the batch to one row are changed: reshapes to a constant shape, and slices of
the only row.  The first axis of a changed reshape is the batch axis, of any size.  A batch axis
that the graph drops is kept; rows that the graph folds into another axis stay folded, in memory
order.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.backends.tensorflow.rewriting.graph_cut import CONTROL, data_path, edge, needed, reached

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  #: by tensor, NODE:OUTPUT, for a batch of one row


def subgraph(graph_def: "tf.GraphDef", names: Collection[str]) -> "tf.GraphDef":
    """
    Return a copy of *graph_def* with only the nodes in *names*.

    Colocation constraints are removed: they may name nodes that the copy lacks.
    """
    import tensorflow.compat.v1 as tf

    part = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in names)
    for node in part.node:
        node.attr.pop("_class", None)
    return part


def tensors_to_observe(graph_def: "tf.GraphDef", cut: str, output: str) -> list[str]:
    """Return the names of the tensors whose shapes `open_batch_axis` needs."""
    nodes = {node.name: node for node in graph_def.node}
    names: dict[str, None] = {}
    for name in data_path(nodes, cut, output):
        if nodes[name].op in _REWRITES:
            node, number = edge(nodes[name].input[0])
            names |= {f"{node}:{number}": None, f"{name}:0": None}
    return list(names)


def open_batch_axis(
    graph_def: "tf.GraphDef", cut: str, output: str, shapes: Shapes
) -> "tf.GraphDef":
    """
    Return the graph that computes *output* from *cut*, for any number of rows.

    The graph does not contain the node of the tensor *cut*.  *shapes* has the shape, in a run of
    one row, of each tensor that `tensors_to_observe` returns.
    """
    nodes = {node.name: node for node in graph_def.node}
    suffix = subgraph(graph_def, needed(nodes, output, cut))
    path = set(data_path(nodes, cut, output))
    context = _Context(nodes, shapes, reached(nodes, cut))
    constants = []
    for node in suffix.node:
        inputs = [each for each in node.input if edge(each) != (edge(cut)[0], CONTROL)]
        del node.input[:]
        node.input.extend(inputs)
        node.attr.pop("_output_shapes", None)
        if node.name in path and node.op in _REWRITES:
            constants += _REWRITES[node.op](node, context)
    suffix.node.extend(constants)
    return suffix


@dataclass(frozen=True, slots=True)
class _Context:
    """The graph that contains the node to rewrite."""

    nodes: Mapping[str, Any]
    shapes: Shapes
    reached: Collection[str]  #: nodes that depend on the rows or their shape

    def shape(self, name: str) -> Shape:
        """Return the shape that the tensor *name*, an input of a node, has in a run of one row."""
        return self.shapes["{}:{}".format(*edge(name))]

    def constant(self, name: str) -> list[int] | None:
        """Return the numbers of the constant *name*; None if the node is no constant."""
        import tensorflow.compat.v1 as tf

        node = self.nodes[edge(name)[0]]
        while node.op == "Identity":
            node = self.nodes[edge(node.input[0])[0]]
        if node.op != "Const":
            return None
        numbers: list[int] = tf.make_ndarray(node.attr["value"].tensor).ravel().tolist()
        return numbers

    def new_constant(self, user: str, numbers: Iterable[int], dtype: int) -> "tf.NodeDef":
        """Return a new constant node with *numbers*, which will be an input of the node *user*."""
        import tensorflow.compat.v1 as tf

        name = f"{user}/tensorferry_rows"
        while name in self.nodes:
            name += "_"
        constant = tf.NodeDef(name=name, op="Const")
        constant.attr["dtype"].type = dtype
        value = tf.make_tensor_proto(list(numbers), tf.as_dtype(dtype))
        constant.attr["value"].tensor.CopyFrom(value)
        return constant


def _open_reshape(node: "tf.NodeDef", context: _Context) -> list["tf.NodeDef"]:
    """
    Turn *node*, if it fixes the number of rows, into a Reshape whose first axis is open.

    The other axes are those of its result for one row.  Returns the constants to add to the graph.
    """
    import tensorflow.compat.v1 as tf

    if not _fixes_rows(node, context):
        return []
    row = context.shape(node.name)
    sizes = (-1, *(row[1:] if len(row) > 1 else row))
    shape = context.new_constant(node.name, sizes, tf.int32.as_datatype_enum)
    element = _attribute(node, "T")
    controls = [each for each in node.input if edge(each)[1] == CONTROL]
    inputs = [node.input[0], shape.name, *controls]
    node.op = "Reshape"
    del node.input[:]
    node.input.extend(inputs)
    node.attr.clear()
    node.attr["T"].CopyFrom(element)
    node.attr["Tshape"].CopyFrom(_attribute(shape, "dtype"))
    return [shape]


def _fixes_rows(node: "tf.NodeDef", context: _Context) -> bool:
    """Whether *node*, which changes a shape, is correct for one row only."""
    rank = len(context.shape(node.input[0]))
    match node.op:
        case "Reshape":
            return edge(node.input[1])[0] not in context.reached
        case "Squeeze":
            axes = _attribute(node, "squeeze_dims").list.i
            return not axes or any(axis % rank == 0 for axis in axes)
        case "ExpandDims":
            dimension = context.constant(node.input[1])
            return dimension is not None and dimension[0] % (rank + 1) == 0
        case "Pack":
            return (_attribute(node, "N").i, _attribute(node, "axis").i % (rank + 1)) == (1, 0)
        case _:  # Unpack
            return (_attribute(node, "num").i, _attribute(node, "axis").i % rank) == (1, 0)


def _open_slice(node: "tf.NodeDef", context: _Context) -> list["tf.NodeDef"]:
    """
    Change *node*, a Slice, to take all rows if it takes the only row.

    Returns the constants to add to the graph.
    """
    begin, size = (context.constant(each) for each in node.input[1:3])
    of_one_row = context.shape(node.input[0])[:1] == (1,)
    if not begin or not size or (begin[0], size[0]) != (0, 1) or not of_one_row:
        return []
    taken = context.new_constant(node.name, (-1, *size[1:]), _attribute(node, "Index").type)
    node.input[2] = taken.name
    return [taken]


def _open_strided_slice(node: "tf.NodeDef", context: _Context) -> list["tf.NodeDef"]:
    """
    Change *node*, a StridedSlice, to take all rows if its input has one row.

    A node that drops the row axis is changed to keep that axis.  Returns an empty list: no constant
    is needed.
    """
    steps = context.constant(node.input[3])
    elsewhere = _attribute(node, "ellipsis_mask").i | _attribute(node, "new_axis_mask").i
    of_one_row = context.shape(node.input[0])[:1] == (1,)
    if steps and steps[0] == 1 and not elsewhere & 1 and of_one_row:
        node.attr["begin_mask"].i |= 1
        node.attr["end_mask"].i |= 1
        node.attr["shrink_axis_mask"].i &= ~1
    return []


def _drop_shape_check(node: "tf.NodeDef", _: _Context) -> list["tf.NodeDef"]:
    """
    Make *node* pass its input on without a check of the shape.

    It becomes an Identity, also if it is a PlaceholderWithDefault, which is never fed; of While and
    If nodes only the stated shapes are removed.  Returns an empty list: no constant is needed.
    """
    if node.op in _FUNCTIONAL:
        node.attr.pop("output_shapes", None)
        return []
    element = _attribute(node, "dtype" if node.op == "PlaceholderWithDefault" else "T")
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].CopyFrom(element)
    return []


def _attribute(node: "tf.NodeDef", name: str) -> Any:
    """Return the attribute *name* of *node*; plain indexing would add a missing one to *node*."""
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    return node.attr[name] if name in node.attr else AttrValue()


_FUNCTIONAL = ("While", "StatelessWhile", "If", "StatelessIf")
_Rewrite = Callable[["tf.NodeDef", _Context], list["tf.NodeDef"]]
_REWRITES: dict[str, _Rewrite] = {
    **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims", "Pack", "Unpack"), _open_reshape),
    "Slice": _open_slice,
    "StridedSlice": _open_strided_slice,
    **dict.fromkeys(("PlaceholderWithDefault", "EnsureShape", *_FUNCTIONAL), _drop_shape_check),
}
