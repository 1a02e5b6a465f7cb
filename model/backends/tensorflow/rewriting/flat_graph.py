"""
Read a graph with the bodies of its functions in place of the calls.

Pure: the protos are read and nothing is run.  TensorFlow 2 saves a model's operations in functions
that call each other; in a flat graph, all operations are nodes of the same graph.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Tensor = tuple[str, int]  #: a node and one of its outputs

#: Nodes that are read, calls included; the rest of a larger graph is not read.
MAX_NODES = 200_000
MAX_DEPTH = 64  #: functions within functions; a function may call itself

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

#: Within a function: how the names of an operation's second and later outputs begin.
_LATER_OUTPUTS = ("batch_mean", "batch_variance", "reserve_space")


@dataclass(frozen=True, slots=True)
class FlatNode:
    """A node: its operation, its inputs without control edges, and its attributes."""

    op: str
    inputs: tuple[Tensor, ...]
    definition: "tf.NodeDef"


@dataclass(slots=True)
class FlatGraph:
    """The nodes of a graph by name; those within functions are called CALL/NODE."""

    nodes: dict[str, FlatNode] = field(default_factory=dict)
    #: From the output of a call to the tensor that the function returns there.
    aliases: dict[Tensor, Tensor] = field(default_factory=dict)

    def source(self, tensor: Tensor) -> Tensor:
        """
        Return *tensor* itself, unless it is the output of a function call.

        For such an output, return the tensor within the function that the function returns there.
        """
        for _ in range(MAX_DEPTH):  # aliases of a recursive function may form a loop
            if tensor not in self.aliases:
                break
            tensor = self.aliases[tensor]
        return tensor

    def inputs(self, name: str) -> list[Tensor]:
        """Return the inputs of the node *name*."""
        return [self.source(each) for each in self.nodes[name].inputs]

    def consumers(self) -> Mapping[Tensor, list[str]]:
        """Return, for each tensor, the names of the nodes that have it as an input."""
        found = defaultdict[Tensor, list[str]](list)
        for name in self.nodes:
            for tensor in dict.fromkeys(self.inputs(name)):
                found[tensor].append(name)
        return found

    def needed(self, ends: list[Tensor]) -> set[str]:
        """Return the names of the nodes that the tensors *ends* depend on."""
        found, waiting = set[str](), [self.source(end)[0] for end in ends]
        while waiting:
            name = waiting.pop()
            if name not in found and name in self.nodes:
                found.add(name)
                waiting.extend(node for node, _ in self.inputs(name))
        return found


def flat_graph(graph_def: "tf.GraphDef") -> FlatGraph:
    """Return *graph_def* with the bodies of its functions in place of the calls."""
    flat = FlatGraph()
    functions = {each.signature.name: each for each in graph_def.library.function}
    waiting: list[tuple[str, int, tf.NodeDef, Mapping[str, Tensor]]] = [
        ("", 0, node, {}) for node in graph_def.node
    ]
    for _ in range(MAX_NODES):
        if not waiting:
            break
        prefix, depth, node, arguments = waiting.pop()
        inputs = tuple(_inputs(prefix, node, arguments))
        function = functions.get(_called(node)) if depth < MAX_DEPTH else None
        name = prefix + node.name
        if function is None:
            flat.nodes[name] = FlatNode(node.op, inputs, node)
            continue
        inner = dict(zip((arg.name for arg in function.signature.input_arg), inputs, strict=False))
        for number, output in enumerate(function.signature.output_arg):
            returned = _tensor(f"{name}/", function.ret[output.name], inner)
            flat.aliases[name, number] = returned
        waiting.extend((f"{name}/", depth + 1, each, inner) for each in function.node_def)
    return flat


def tensor_named(name: str) -> Tensor:
    """Return the tensor that *name* means: NODE:OUTPUT, or NODE for output 0."""
    node, _, output = name.partition(":")
    return node, int(output or 0)


def _called(node: "tf.NodeDef") -> str:
    """Return the name of the function that *node* calls, else the name of its operation."""
    name: str = node.attr["f"].func.name if node.op in _CALLS else node.op
    return name


def _inputs(prefix: str, node: "tf.NodeDef", arguments: Mapping[str, Tensor]) -> Iterator[Tensor]:
    return (_tensor(prefix, each, arguments) for each in node.input if not each.startswith("^"))


def _tensor(prefix: str, name: str, arguments: Mapping[str, Tensor]) -> Tensor:
    """
    Return the tensor that *name*, an input of a node, means.

    Within a function, *name* is ARGUMENT or NODE:OUTPUT_NAME:NUMBER, *prefix* precedes the names of
    the function's nodes, and *arguments* are the tensors that the call passes.
    """
    if name in arguments:
        return arguments[name]
    node, _, output = name.partition(":")
    label, _, number = output.rpartition(":")
    if label.startswith(_LATER_OUTPUTS):
        return prefix + node, -1
    return prefix + node, int(number or 0)
