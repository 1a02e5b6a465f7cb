"""
Find where a graph can be cut in two: the tensors through which every path from its input runs.

Pure: reads the names, operations and inputs of nodes, and needs no TensorFlow.  Each function is
linear in nodes and edges, and takes graphs with loops.  A tensor is called NODE:OUTPUT.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Protocol


class Node(Protocol):
    """What is read of a NodeDef."""

    @property
    def name(self) -> str:
        """Its name, which no other node has."""

    @property
    def op(self) -> str:
        """Its operation."""

    @property
    def input(self) -> Sequence[str]:
        """NODE, NODE:OUTPUT, or ^NODE for one that must only have run before."""


Nodes = Mapping[str, Node]
Edge = tuple[str, int]  #: a node and one of its outputs, or `CONTROL`, or `_INSIDE`

CONTROL = -1  #: the output that carries nothing and only says "after"
_INSIDE = -2  #: the node itself, between its inputs and its outputs

#: Operations that look at the shape of what they are given, and never at its values.
_SHAPE_READERS = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def edge(name: str) -> Edge:
    """Return the node and the output of an input's or a tensor's *name*."""
    if name.startswith("^"):
        return name[1:], CONTROL
    node, _, output = name.partition(":")
    return node, int(output or 0)


def dominators(nodes: Nodes, start: str, end: str) -> list[str]:
    """
    Return the tensors through which every path from *start* to *end* runs, these two included.

    They come in the order of the path; none where no path leads to *end*.  A control edge is a
    way around like any other.  Tensors within loops and branches are left out: they may never
    have a value that can be fetched.
    """
    successors = _successors(nodes, edge(end))
    path = _shortest_path(successors, edge(start), edge(end))
    place = {each: number for number, each in enumerate(path)}
    nesting = _nesting(nodes, start)
    found, seen, farthest = [], set[Edge](), 0
    for number, each in enumerate(path):
        # Nothing goes around where all that lies before leads no farther than here.
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
    """Return the nodes that the tensor *end* is made by, where the tensor *given* is at hand."""
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
    Return the nodes that compute *end* with the values of *start*, each after its inputs.

    What only looks at shapes is left out, and so is what stands within a loop or a branch.
    """
    wanted = needed(nodes, end, start)
    nesting = _nesting(nodes, start, blind=_SHAPE_READERS)
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
    """Return the nodes that get a value which hangs on the tensor *start*, or on its shape."""
    return _nesting(nodes, start).keys()


def _successors(nodes: Nodes, end: Edge) -> dict[Edge, list[Edge]]:
    """Return what leads where: outputs into nodes, and nodes to their outputs that are taken."""
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


def _nesting(nodes: Nodes, start: str, blind: Collection[str] = ()) -> dict[str, int]:
    """
    Return in how many loops and branches each node stands that hangs on the tensor *start*.

    Control edges are not followed, and nothing is through the operations in *blind*.
    """
    successors = _successors(nodes, edge(start))
    found: dict[str, int] = {}
    waiting = deque([(edge(start), 0)])
    while waiting:
        each, depth = waiting.popleft()
        for taker, _ in successors[each]:
            if taker not in found and nodes[taker].op not in blind:
                found[taker] = max(0, depth + _nesting_change(nodes, nodes[taker]))
                outputs = successors[taker, _INSIDE]
                waiting.extend((output, found[taker]) for output in outputs if output[1] >= 0)
    return found


def _is_next_iteration(nodes: Nodes, name: str) -> bool:
    return name in nodes and nodes[name].op == "NextIteration"


def _nesting_change(nodes: Nodes, node: Node) -> int:
    """Return by how many loops and branches *node*'s outputs stand deeper than its inputs."""
    inputs = [edge(each)[0] for each in node.input]
    match node.op:
        case "Enter" | "RefEnter":
            return 1
        case "Exit" | "RefExit":
            return -1
        case "Switch" | "RefSwitch":
            # The one of a loop stands at its end; all others open a branch.
            condition = nodes.get(inputs[1])
            return 0 if condition is not None and condition.op == "LoopCond" else 1
        case "Merge" | "RefMerge":
            # The one of a loop stands at its beginning; all others close a branch.
            return 0 if any(_is_next_iteration(nodes, each) for each in inputs) else -1
        case _:
            return 0
