"""
Find where a graph can be cut in two: the tensors that every path from its input passes through.

Pure: reads the names, operations and inputs of nodes, and imports no TensorFlow.  Each function
takes time linear in nodes and edges, and takes graphs with loops.  A tensor is named NODE:OUTPUT.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Protocol


class Node(Protocol):
    """The fields of a NodeDef that are read."""

    @property
    def name(self) -> str:
        """Its name, unique in the graph."""

    @property
    def op(self) -> str:
        """Its operation."""

    @property
    def input(self) -> Sequence[str]:
        """Its inputs: NODE, NODE:OUTPUT, or ^NODE for a node that only has to run before."""


Nodes = Mapping[str, Node]
Edge = tuple[str, int]  #: a node and one of its outputs, or `CONTROL`, or `_INSIDE`

CONTROL = -1  #: the output of a control edge, which carries no value
_INSIDE = -2  #: the node itself, between its inputs and its outputs

#: Operations that read the shape of their input, never its values.
_SHAPE_READERS = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def edge(name: str) -> Edge:
    """
    Return the node in *name*, and the number of its output, `CONTROL` for a control input.

    *name* is the name of an input or of a tensor.
    """
    if name.startswith("^"):
        return name[1:], CONTROL
    node, _, output = name.partition(":")
    return node, int(output or 0)


def dominators(nodes: Nodes, start: str, end: str) -> list[str]:
    """
    Return the tensors that every path from *start* to *end* passes through, both included.

    They are in the order of the path; the list is empty if no path leads to *end*.  A control edge
    is part of a path like any other edge.  Tensors within loops and branches are left out: they may
    have no value that can be fetched.
    """
    successors = _successors(nodes, edge(end))
    path = _shortest_path(successors, edge(start), edge(end))
    place = {each: number for number, each in enumerate(path)}
    nesting = _nesting(nodes, start)
    found, seen, farthest = [], set[Edge](), 0
    for number, each in enumerate(path):
        # A tensor is on every path if nothing before it leads farther than it.
        if farthest <= number and each[1] >= 0 and not nesting.get(each[0]):
            found.append(f"{each[0]}:{each[1]}")
        waiting = [each]
        while waiting:
            for follower in successors[waiting.pop()]:
                if follower in place:
                    farthest = max(farthest, place[follower])
                elif follower not in seen:
                    seen.add(follower)
                    waiting.append(follower)
    return found


def needed(nodes: Nodes, end: str, given: str | None = None) -> set[str]:
    """Return the nodes that must run to compute *end* if the tensor *given* is fed."""
    at_hand = {edge(given), (edge(given)[0], CONTROL)} if given else set()
    found, waiting = set[str](), [edge(end)]
    while waiting:
        each = waiting.pop()
        if each not in at_hand and each[0] not in found and each[0] in nodes:
            found.add(each[0])
            waiting.extend(map(edge, nodes[each[0]].input))
    return found


def data_path(nodes: Nodes, start: str, end: str) -> list[str]:
    """
    Return the nodes that compute *end* from the values of *start*, each after its inputs.

    Nodes that depend only on the shape of *start*, and nodes within loops and branches, are left
    out.
    """
    wanted = needed(nodes, end, start)
    nesting = _nesting(nodes, start, ignored=_SHAPE_READERS)
    before = {
        name: [
            node for node, _ in map(edge, nodes[name].input) if not _is_next_iteration(nodes, node)
        ]
        for name in nodes
        if name in wanted
    }
    order = TopologicalSorter(before).static_order()
    return [name for name in order if name in wanted and nesting.get(name) == 0]


def reached(nodes: Nodes, start: str) -> Collection[str]:
    """Return the nodes with an input that depends on the tensor *start* or its shape."""
    return _nesting(nodes, start).keys()


def _successors(nodes: Nodes, end: Edge) -> dict[Edge, list[Edge]]:
    """
    Return, for each output of a node and for each node, what follows it.

    An output is followed by the nodes that take it as an input; a node, written (NODE, _INSIDE), is
    followed by those of its outputs that are used.  The output *end* counts as used.
    """
    successors = defaultdict[Edge, list[Edge]](list)
    successors[end[0], _INSIDE].append(end)
    for name, node in nodes.items():
        for each in dict.fromkeys(map(edge, node.input)):
            if not successors[each] and each != end:
                successors[each[0], _INSIDE].append(each)
            successors[each].append((name, _INSIDE))
    return successors


def _shortest_path(successors: Mapping[Edge, list[Edge]], start: Edge, end: Edge) -> list[Edge]:
    came_from = {start: start}
    waiting = deque([start])
    while waiting and end not in came_from:
        each = waiting.popleft()
        for follower in successors[each]:
            if follower not in came_from:
                came_from[follower] = each
                waiting.append(follower)
    path = [end] if end in came_from else []
    while path and path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _nesting(nodes: Nodes, start: str, ignored: Collection[str] = ()) -> dict[str, int]:
    """
    Return the number of loops and branches around each node that depends on the tensor *start*.

    Control edges are not followed, nor are the outputs of operations in *ignored*.
    """
    successors = _successors(nodes, edge(start))
    found: dict[str, int] = {}
    waiting = deque([(edge(start), 0)])
    while waiting:
        each, depth = waiting.popleft()
        for consumer, _ in successors[each]:
            if consumer not in found and nodes[consumer].op not in ignored:
                found[consumer] = max(0, depth + _nesting_change(nodes, nodes[consumer]))
                outputs = successors[consumer, _INSIDE]
                waiting.extend((output, found[consumer]) for output in outputs if output[1] >= 0)
    return found


def _is_next_iteration(nodes: Nodes, name: str) -> bool:
    return name in nodes and nodes[name].op == "NextIteration"


def _nesting_change(nodes: Nodes, node: Node) -> int:
    """Return how many loops and branches *node* opens; negative if it closes them."""
    inputs = [edge(each)[0] for each in node.input]
    match node.op:
        case "Enter" | "RefEnter":
            return 1
        case "Exit" | "RefExit":
            return -1
        case "Switch" | "RefSwitch":
            # The Switch of a loop has a LoopCond and opens nothing; any other opens a branch.
            condition = nodes.get(inputs[1])
            return 0 if condition is not None and condition.op == "LoopCond" else 1
        case "Merge" | "RefMerge":
            # The Merge of a loop has a NextIteration and closes nothing; any other closes a branch.
            return 0 if any(_is_next_iteration(nodes, each) for each in inputs) else -1
        case _:
            return 0
