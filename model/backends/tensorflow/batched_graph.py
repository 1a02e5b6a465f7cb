"""
Make a graph that takes one picture take batches, and prove that each row gets what it got alone.

A graph that decodes its picture is cut in two behind the decoding and resizing: the front part
gives one row for a picture, and the back part takes many.  A graph that takes pixels is all back
part.  What the back part may lose by that is not reasoned about: it is run beside the original.

Runs the graph some dozen times on the CPU, on the thread that loads a model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from model.backends.tensorflow.cpu_run import CpuRun, Value, on_cpu
from model.backends.tensorflow.free_batch import Shape, freed, observed_tensors, part_of, suffix_of
from model.backends.tensorflow.graph_cut import data_path, dominators, edge, needed, reached
from model.backends.tensorflow.reasons import blamed_node, one_line
from model.backends.tensorflow.stacked_rows import bound, difference, parting

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Probe = bytes | Value  #: an encoded picture, or pixels [height, width, 3]

MAX_TRIALS = 8  #: tensors at which a graph is cut on trial

#: What a network is made of.  The front part runs on one picture at a time, so it has none.
_LAYER = re.compile("Conv|MatMul|Einsum|BatchNorm")


@dataclass(frozen=True, slots=True)
class Batched:
    """A graph in two parts that takes batches."""

    takes: str  #: the name of the set of probes
    input: str  #: the tensor that takes one picture, NODE:OUTPUT
    prefix: "tf.GraphDef"  #: makes the tensor *cut*, [1, *row], of *input*; empty for pixels
    cut: str  #: *input* itself for pixels
    row: Shape
    dtype: "np.dtype[Any]"  #: of the rows
    suffix: "tf.GraphDef"  #: makes the tensor *output* of *cut*, [rows, *row]
    output: str
    scores: Shape  #: of one row
    difference: float = (
        np.inf
    )  #: to one row at a time, the largest for probes, as `difference` has it

    def connect(self, rows: "tf.Tensor") -> "tf.Tensor":
        """
        Put the suffix into the default graph and return its scores, [rows, *scores].

        *rows* is [rows, *row] in *dtype*.  Raises ValueError where TensorFlow sees that it cannot
        take them.
        """
        import tensorflow.compat.v1 as tf

        (output,) = tf.import_graph_def(
            self.suffix, input_map={self.cut: rows}, return_elements=[self.output], name=""
        )
        return tf.reshape(output, (-1, *self.scores), name="tensorferry_scores")


@dataclass(frozen=True, slots=True)
class Alone:
    """A graph that takes one picture at a time."""

    reason: str  #: one line, without the name of the file


def free_the_batch(
    graph_def: "tf.GraphDef",
    input_name: str,
    output_name: str,
    probes: Mapping[str, Sequence[Probe]],
) -> Batched | Alone:
    """
    Return *graph_def* for batches, or why it stays alone.

    *probes* are sets of at least five different pictures, by the name of their format; the first
    that the graph takes is used.  Tensors are called NODE:OUTPUT.  The graph must be one that can
    be imported.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    try:
        with on_cpu(graph, input_name) as run:
            takes, feeds, outputs = _taken(run, output_name, probes)
            original = _Original(graph_def, input_name, output_name, takes, run, feeds, outputs)
            return _first_that_holds(original)
    except _StaysAlone as obstacle:
        return Alone(str(obstacle))


class _StaysAlone(Exception):
    """Why, in one line."""


@dataclass(frozen=True, slots=True)
class _Original:
    """The graph as it came, and what it makes of each probe."""

    graph_def: "tf.GraphDef"
    input: str
    output: str
    takes: str
    run: CpuRun
    feeds: Sequence[Probe]
    outputs: Sequence[Value]

    @property
    def nodes(self) -> dict[str, Any]:
        """The nodes by their names."""
        return {node.name: node for node in self.graph_def.node}


@dataclass(frozen=True, slots=True)
class _Trial:
    """A run of all rows together."""

    batched: Batched
    rows: Value  #: one for each probe
    allowed: float  #: the largest difference with which the trial is passed
    error: Exception | None  #: TensorFlow's, where the run failed

    @property
    def passed(self) -> bool:
        """Whether each row got what it gets alone."""
        return self.batched.difference <= self.allowed


def _taken(
    run: CpuRun, output: str, probes: Mapping[str, Sequence[Probe]]
) -> tuple[str, list[Probe], list[Value]]:
    """Return the first set of *probes* that the graph takes, as it is fed, and the outputs."""
    import tensorflow.compat.v1 as tf

    reasons = []
    for kind, pictures in probes.items():
        feeds = [each if isinstance(each, bytes) else each[np.newaxis] for each in pictures]
        try:
            return kind, feeds, [run([output], feed)[0] for feed in feeds]
        except (tf.errors.OpError, ValueError) as error:
            reasons.append(one_line(error))
    formats = " nor ".join(probes)
    raise _StaysAlone(f"takes {'neither' if len(reasons) > 1 else 'no'} {formats}: {reasons[0]}")


def _first_that_holds(original: _Original) -> Batched:
    tensors, behind = _before_layers(original)
    fetched = [original.output, *original.run.numbers(tensors)]
    values = [original.run(fetched, feed) for feed in original.feeds]
    _check_outputs(original, [each[0] for each in values])
    trial = None
    for cut, rows in islice(_cuts(fetched[1:], [each[1:] for each in values]), MAX_TRIALS):
        trial = _tried(original, cut, rows)
        if trial.passed:
            return trial.batched
    if trial is None:
        raise _StaysAlone(f"no tensor {behind} has the same shape for every picture")
    # The last is the nearest to the network: what stood in its way stands in the way of all.
    raise _StaysAlone(_obstacle(original, trial))


def _before_layers(original: _Original) -> tuple[list[str], str]:
    """Return the tensors at which the graph may be cut, and in words where they stand."""
    nodes = original.nodes
    way = dominators(nodes, original.input, original.output)
    if not way:
        raise _StaysAlone("its output does not hang on its input")
    if not isinstance(original.feeds[0], bytes):
        return way[:1], "at its input"
    hanging = reached(nodes, original.input)
    for number, tensor in enumerate(way):
        before = needed(nodes, tensor, original.input)
        for node in nodes.values():
            if node.name in before and node.name in hanging and _LAYER.search(node.op):
                return way[:number], f"in front of {_described(original, node.name)}"
    return way[:-1], "behind the decoding"


def _check_outputs(original: _Original, again: Sequence[Value]) -> None:
    """See that the outputs can be compared at all; raises `_StaysAlone`."""
    shape = original.outputs[0].shape
    for output, repeated in zip(original.outputs, again, strict=True):
        if not np.isfinite(output).all():
            raise _StaysAlone("its output holds numbers that are not finite")
        if difference(repeated, output) > bound(output.dtype):
            raise _StaysAlone(f"it is not deterministic{_lottery(original)}")
        if output.shape != shape:
            raise _StaysAlone(
                f"the shape of its output changes with the picture: {list(shape)} and "
                f"{list(output.shape)}"
            )


def _lottery(original: _Original) -> str:
    nodes = original.nodes
    wanted = needed(nodes, original.output, original.input)
    for name in nodes:
        if name in wanted and original.run.draws_lots(name):
            return f": {_described(original, name)} draws random numbers"
    return ""


def _cuts(tensors: Sequence[str], values: Sequence[Sequence[Value]]) -> Iterator[tuple[str, Value]]:
    """Yield the tensors that are a row of one shape for each probe, with all the rows."""
    for tensor, rows in zip(tensors, zip(*values, strict=True), strict=True):
        shape = rows[0].shape
        if len(shape) > 1 and shape[0] == 1 and all(row.shape == shape for row in rows):
            yield tensor, np.concatenate(rows)


def _tried(original: _Original, cut: str, rows: Value) -> _Trial:
    """Cut the graph at the tensor *cut* and run all *rows* of it together."""
    import tensorflow.compat.v1 as tf

    batched = _cut_in_two(original, cut, rows)
    expected = np.stack([each.reshape(batched.scores) for each in original.outputs])
    allowed = bound(expected.dtype, *_dtypes(batched))
    apart = 0.0
    # TensorFlow's optimiser believes what nodes say of shapes, and some may still say "one row".
    for optimised in (False, True):
        try:
            with _run_of(batched, optimised=optimised) as (run, scores):
                apart = max(apart, difference(run([scores], rows)[0], expected))
        except (tf.errors.OpError, ValueError) as error:
            return _Trial(batched, rows, allowed, error)
        if apart > allowed:
            break
    return _Trial(replace(batched, difference=apart), rows, allowed, None)


def _cut_in_two(original: _Original, cut: str, rows: Value) -> Batched:
    graph_def, output = original.graph_def, original.output
    front = needed(original.nodes, cut) if cut != original.input else ()
    suffix = suffix_of(graph_def, cut, output)
    names = observed_tensors(suffix, cut, output)
    shapes = [each.shape for each in original.run(names, original.feeds[0])]
    scores = original.outputs[0].shape
    return Batched(
        takes=original.takes,
        input=original.input,
        prefix=part_of(graph_def, front),
        cut=cut,
        row=rows.shape[1:],
        dtype=rows.dtype,
        suffix=freed(suffix, cut, output, dict(zip(names, shapes, strict=True))),
        output=output,
        scores=scores[1:] if len(scores) > 1 and scores[0] == 1 else scores,
    )


@contextmanager
def _run_of(batched: Batched, *, optimised: bool = False) -> Iterator[tuple[CpuRun, str]]:
    """Give a run of the suffix, and the name of its scores."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        rows = tf.placeholder(batched.dtype, (None, *batched.row), name="tensorferry_rows")
        scores = batched.connect(rows)
    with on_cpu(graph, rows.name, optimised=optimised) as run:
        yield run, scores.name


def _dtypes(batched: Batched) -> Iterator["np.dtype[Any]"]:
    """Yield the types in which the rows are computed with, as far as they are coarse."""
    import tensorflow.compat.v1 as tf

    coarse = {each.as_datatype_enum: each.as_numpy_dtype for each in (tf.float16, tf.bfloat16)}
    nodes = {node.name: node for node in batched.suffix.node}
    for name in data_path(nodes, batched.cut, batched.output):
        attributes = nodes[name].attr.values()
        yield from (coarse[each.type] for each in attributes if each.type in coarse)


def _obstacle(original: _Original, trial: _Trial) -> str:
    """Return which node stood in the way of the *trial*, in one line."""
    batched, rows, error = trial.batched, trial.rows, trial.error
    nodes = {node.name: node for node in batched.suffix.node}
    path = data_path(nodes, batched.cut, batched.output)
    blamed = blamed_node(error) if error else None
    if blamed in nodes:
        before = needed(nodes, f"{blamed}:0", batched.cut) - {blamed}
        path = [name for name in path if name in before]
    # A graph that cannot be put together, or fails no one can say where, cannot be looked into.
    if not error or (blamed in nodes and not isinstance(error, ValueError)):
        parted = _parting(original, trial, path)
        if parted:
            return f"{_described(original, parted)} mixes the rows of a batch"
    if error:
        what = _described(original, blamed) if blamed else "it"
        return f"{what} cannot take {len(rows)} rows: {one_line(error)}"
    return f"its output differs by {batched.difference:.1e} in a batch of {len(rows)} rows"


def _described(original: _Original, name: str) -> str:
    node = original.nodes.get(name)  # none where a function within the graph has it
    return f"its node {name!r} ({node.op})" if node else f"its node {name!r}"


def _parting(original: _Original, trial: _Trial, path: Sequence[str]) -> str | None:
    """Return the first node on *path* at which the rows part from what they are alone."""
    batched = trial.batched
    taken = {edge(each) for node in batched.suffix.node for each in node.input}
    taken.add(edge(batched.output))
    place = {name: number for number, name in enumerate(path)}
    outputs = sorted((place[node], number) for node, number in taken if node in place)
    with _run_of(batched) as (run, _):
        names = run.numbers(f"{path[node]}:{number}" for node, number in outputs if number >= 0)
        singles = [partial(original.run, value=feed) for feed in original.feeds]
        found = parting(names, partial(run, value=trial.rows), singles)
    return edge(found)[0] if found else None
