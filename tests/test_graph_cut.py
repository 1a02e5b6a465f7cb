"""Where a graph can be cut: the tensors that every path passes through."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backends.tensorflow.rewriting.graph_cut import (
    data_path,
    dominators,
    edge,
    needed,
    reached,
)


@dataclass(frozen=True)
class FakeNode:
    """A node: its name, its operation and its inputs."""

    name: str
    op: str
    input: tuple[str, ...]


def nodes(*lines: str) -> dict[str, FakeNode]:
    """Return a graph of lines "name[ = op] <- inputs"."""
    made = {}
    for line in lines:
        head, _, inputs = line.partition("<-")
        name, _, op = (part.strip() for part in head.partition("="))
        made[name] = FakeNode(name, op or "Op", tuple(inputs.split()))
    return made


#: A loop that adds values that depend on "a" to a state that depends on nothing.
LOOP = (
    "a <- in",
    "invariant = Enter <- a",
    "zero = Const",
    "first = Enter <- zero",
    "state = Merge <- first next",
    "test <- state",
    "condition = LoopCond <- test",
    "switch = Switch <- state condition",
    "body <- switch:1 invariant",
    "again <- body",
    "next = NextIteration <- again",
    "last = Exit <- switch",
    "b <- last",
    "out <- b",
)

#: A branch on a condition that depends on nothing.
BRANCH = (
    "a <- in",
    "choice = Const",
    "switch = Switch <- a choice",
    "off <- switch",
    "b = Merge <- off on",
    "on = Const",
    "out <- b",
)

#: Lines of a graph, and its dominators between in:0 and out:0.
CUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "a chain": (("a <- in", "b <- a", "out <- b"), "in:0 a:0 b:0 out:0"),
    "two ways": (("a <- in", "b <- a", "c <- a", "d <- b c", "out <- d"), "in:0 a:0 d:0 out:0"),
    "a way around": (("a <- in", "b <- a", "c <- b a", "out <- c"), "in:0 a:0 c:0 out:0"),
    "a tensor taken twice": (("a <- in", "b <- a a:0", "out <- b"), "in:0 a:0 b:0 out:0"),
    "two outputs": (("a <- in", "b <- a a:1", "out <- b"), "in:0 b:0 out:0"),
    "the second output": (("a <- in", "b <- a:1", "out <- b"), "in:0 a:1 b:0 out:0"),
    "another output of the input": (("a <- in in:1", "out <- a"), "in:0 a:0 out:0"),
    "a constant for several": (
        ("k = Const", "a <- in k", "b <- a k", "out <- b k"),
        "in:0 a:0 b:0 out:0",
    ),
    "an order around": (("a <- in", "b <- a", "c <- b ^a", "out <- c"), "in:0 c:0 out:0"),
    "an order on the way": (
        ("a <- in", "check <- a", "b <- a ^check", "out <- b"),
        "in:0 a:0 b:0 out:0",
    ),
    "a dead end": (("a <- in", "b <- a", "print <- in", "out <- b"), "in:0 a:0 b:0 out:0"),
    "no way": (("a <- in", "out <- k", "k = Const"), ""),
    "a loop": (LOOP, "in:0 a:0 last:0 b:0 out:0"),
    "a branch": (BRANCH, "in:0 a:0 b:0 out:0"),
}


@pytest.mark.parametrize(("lines", "expected"), list(CUTS.values()), ids=list(CUTS))
def test_a_graph_can_be_cut_at_the_tensors_on_every_path(
    lines: tuple[str, ...], expected: str
) -> None:
    """From the input to the output, for any order of the nodes in the file."""
    graph = nodes("in", *lines)
    assert dominators(graph, "in:0", "out:0") == expected.split()
    assert dominators(nodes(*lines[::-1], "in"), "in:0", "out:0") == expected.split()


def test_graphs_of_many_thousand_nodes_are_cut() -> None:
    """With side paths that span hundreds of nodes."""
    many = [f"n{i} <- n{i - 1}" + f" n{i - 300}" * (i % 500 == 400) for i in range(1, 20_000)]
    found = dominators(nodes("n0", *many), "n0:0", "n19999:0")
    spanned = {place for i in range(400, 20_000, 500) for place in range(i - 299, i)}
    assert found == [f"n{i}:0" for i in range(20_000) if i not in spanned]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, FakeNode]:
    """Make graphs of a few nodes with one or two outputs each; half of the graphs have cycles."""
    size, loops = draw(st.integers(2, 9)), draw(st.booleans())
    lines = ["n0"]
    for number in range(1, size):
        source = st.integers(0, size - 1 if loops else number - 1)
        tensors = st.builds("n{}{}".format, source, st.sampled_from(["", ":1"]))
        orders = st.builds("^n{}".format, source)
        inputs = draw(st.lists(tensors | tensors | orders, max_size=3))
        lines.append(f"n{number} <- {' '.join(inputs)}")
    return nodes(*lines)


def is_reached(graph: dict[str, FakeNode], end: str, without: str | None) -> bool:
    """Whether *end* depends on n0:0 if the tensor *without* is removed."""
    found = {"n0:0"} - {without}
    while True:
        more = {
            f"{node.name}:{output}"
            for node in graph.values()
            if any("{}:{}".format(*edge(each)) in found for each in node.input)
            for output in (0, 1, -1)
        } - {without}
        if more <= found:
            return end in found
        found |= more


@settings(derandomize=True, deadline=None, max_examples=100)
@given(graphs())
def test_dominators_cut_the_output_off(graph: dict[str, FakeNode]) -> None:
    """The definition, for any small graph: without the tensor no path is left."""
    end = f"n{len(graph) - 1}:0"
    tensors = [f"{name}:{output}" for name in graph for output in (0, 1)]
    connected = is_reached(graph, end, None)
    expected = {each for each in tensors if connected and not is_reached(graph, end, each)}
    assert set(dominators(graph, "n0:0", end)) == expected


def test_the_nodes_that_a_tensor_needs_end_at_the_given_tensor() -> None:
    """Also where a node has only a control edge from it."""
    graph = nodes("in", "k = Const <- ^b", "a <- in", "b <- a", "c <- b k", "d <- c", "e <- c")
    assert needed(graph, "d:0") == {"in", "a", "b", "k", "c", "d"}
    assert needed(graph, "d:0", "b:0") == {"k", "c", "d"}


def test_the_data_path_holds_values_and_not_shapes() -> None:
    """The shape of the rows, and all values computed from it, depend on no row."""
    graph = nodes(
        "out <- reshaped other",
        "reshaped = Reshape <- a sizes",
        "other <- a ^sizes",
        "sizes = Pack <- first k",
        "first = StridedSlice <- shape k",
        "shape = Shape <- a",
        "k = Const <- ^a",
        "a <- in",
        "in",
        "elsewhere <- a",
    )
    assert data_path(graph, "in:0", "out:0") == ["a", "reshaped", "other", "out"]
    assert data_path(graph, "a:0", "reshaped:0") == ["reshaped"]
    assert set(reached(graph, "a:0")) == {*graph} - {"in", "a", "k"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(LOOP, ["a", "last", "b", "out"]), (BRANCH, ["a", "b", "out"])],
    ids=["loop", "branch"],
)
def test_the_data_path_leads_around_loops_and_branches(
    lines: tuple[str, ...], expected: list[str]
) -> None:
    """A tensor within them may have no value, or many."""
    assert data_path(nodes("in", *lines), "in:0", "out:0") == expected
