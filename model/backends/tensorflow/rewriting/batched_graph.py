"""
Make a graph that takes one image take batches, and prove that each row gets what it got alone.

A graph that decodes its image is cut in two behind the decoding and resizing: the front part
gives one row for an image, and the back part takes many.  A graph that takes pixels is all back
part.  What the back part may lose by that is not reasoned about: it is run beside the original.

Runs the graph some dozen times on the CPU, on the thread that loads a model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from model.backends.tensorflow.error_text import blamed_node, one_line
from model.backends.tensorflow.rewriting.free_batch import (
    Shape,
    freed_behind,
    observed_tensors,
    part_of,
)
from model.backends.tensorflow.rewriting.graph_cut import (
    CONTROL,
    data_path,
    dominators,
    edge,
    needed,
    reached,
)
from model.backends.tensorflow.trials.cpu_run import CpuRun, on_cpu
from model.backends.tensorflow.trials.stacked_rows import (
    AT_ONCE,
    Value,
    bound,
    difference,
    holds_each_row,
    parting,
    told_apart,
)

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Probe = bytes | Value  #: an encoded image, or pixels [height, width, 3]

MAX_TRIALS = 8  #: tensors at which a graph is cut on trial

#: Tensors, the last in front of the output, that are compared beside it: scores near 0 and 1
#: may tell little of what went before.
WITNESSES = 16

#: What a network is made of.  The front part runs on one image at a time, so it has none.
_LAYER = re.compile("Conv|MatMul|Einsum|BatchNorm")


@dataclass(frozen=True, slots=True)
class Batched:
    """A graph in two parts that takes batches."""

    takes: str  #: the name of the set of probes
    input: str  #: the tensor that takes one image, NODE:OUTPUT
    prefix: "tf.GraphDef"  #: makes the tensor *cut*, [1, *row], of *input*; empty for pixels
    cut: str  #: *input* itself for pixels
    row: Shape
    dtype: "np.dtype[Any]"  #: of the rows
    suffix: "tf.GraphDef"  #: makes the tensor *output* of *cut*, [rows, *row]
    output: str
    scores: Shape  #: of one row
    #: The largest, for probes, to one row at a time; over the largest score where that is above 1.
    difference: float = np.inf

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
    """A graph that takes one image at a time."""

    reason: str  #: one line, without the name of the file


def free_the_batch(
    graph_def: "tf.GraphDef",
    input_name: str,
    output_name: str,
    probes: Mapping[str, Sequence[Probe]],
) -> Batched | Alone:
    """
    Return *graph_def* for batches, or why it stays alone.

    *probes* are sets of at least five different images, by the name of their format; the first
    that the graph takes is used.  Their sizes decide what counts as the same for every image,
    so a row of another image may still have another shape.  Tensors are called NODE:OUTPUT.
    Raises ValueError for a graph that cannot be imported.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    try:
        with on_cpu(graph, input_name) as run:
            return _first_that_holds(_tried_alone(graph_def, input_name, output_name, run, probes))
    except _StaysAlone as obstacle:
        return Alone(str(obstacle))
    except tf.errors.OpError as error:  # it ran before, but not each time
        return Alone(one_line(error))


class _StaysAlone(Exception):
    """Why, in one line."""


@dataclass(frozen=True, slots=True)
class _Original:
    """The graph as it came, and what it makes of each probe."""

    graph_def: "tf.GraphDef"
    nodes: Mapping[str, Any]
    input: str
    output: str
    run: CpuRun
    cuts: Sequence[str]  #: tensors at which it may be cut
    layer: str | None  #: the first node behind these that a network is made of
    witnesses: Sequence[str]
    takes: str
    feeds: Sequence[Probe]
    values: Sequence[Mapping[str, Value]]  #: of all these tensors, for each probe

    def of(self, tensor: str) -> list[Value]:
        """Return the values of one tensor, for each probe."""
        return [each[tensor] for each in self.values]


@dataclass(frozen=True, slots=True)
class _Trial:
    """A run of all rows together."""

    batched: Batched
    rows: Value  #: one for each probe
    start: str  #: as far as this the rows are known to be what they are alone
    passed: bool  #: whether each row got what it gets alone
    end: str = ""  #: where the rows were seen to part
    error: Exception | None = None  #: TensorFlow's, where the run failed


def _tried_alone(
    graph_def: "tf.GraphDef",
    input_name: str,
    output: str,
    run: CpuRun,
    probes: Mapping[str, Sequence[Probe]],
) -> _Original:
    """Run the graph on the first set of *probes* that it takes, twice."""
    nodes = {node.name: node for node in graph_def.node}
    way = dominators(nodes, input_name, output)
    if not way:
        raise _StaysAlone("its output does not hang on its input")
    if output not in run.numbers(way):
        raise _StaysAlone("its output holds no numbers")
    pixels = not isinstance(next(iter(probes.values()))[0], bytes)
    before, layer = (1, None) if pixels else _first_layer(nodes, way)
    cuts = run.numbers(way[:before])
    witnesses = [each for each in run.numbers(way)[-WITNESSES:] if each != input_name]
    names = list(dict.fromkeys((*cuts, *witnesses, output)))
    takes, feeds, first = _taken(run, names, probes)
    again = [dict(zip(names, run(names, feed), strict=True)) for feed in feeds]
    original = _Original(
        graph_def, nodes, input_name, output, run, cuts, layer, witnesses, takes, feeds, again
    )
    _check_outputs(original, [each[names.index(output)] for each in first])
    return original


def _taken(
    run: CpuRun, names: Sequence[str], probes: Mapping[str, Sequence[Probe]]
) -> tuple[str, list[Probe], list[list[Value]]]:
    """Return the first set of *probes* that the graph takes, as it is fed, and the tensors."""
    import tensorflow.compat.v1 as tf

    reasons = []
    for kind, images in probes.items():
        feeds = [each if isinstance(each, bytes) else each[np.newaxis] for each in images]
        try:
            return kind, feeds, [run(names, feed) for feed in feeds]
        except (tf.errors.OpError, ValueError) as error:
            reasons.append(one_line(error))
    formats = " nor ".join(probes)
    raise _StaysAlone(f"takes {'neither' if len(reasons) > 1 else 'no'} {formats}: {reasons[0]}")


def _first_that_holds(original: _Original) -> Batched:
    rows = filter(partial(_is_row, original), original.cuts)
    # The smallest row is the cheapest to queue and to copy; of equal ones the first decodes least.
    smallest = sorted(rows, key=lambda cut: original.of(cut)[0].nbytes)
    trials = []
    for cut in smallest[:MAX_TRIALS]:
        trials.append(_tried(original, cut))
        if trials[-1].passed:
            return trials[-1].batched
    if trials:
        # What stood in the way of the cut that is nearest to the network stands in that of all.
        nearest = max(trials, key=lambda trial: original.cuts.index(trial.batched.cut))
        raise _StaysAlone(_obstacle(original, nearest))
    where = "behind the decoding"
    if original.layer:
        where = f"in front of {_described(original, original.layer)}"
    raise _StaysAlone(f"no tensor {where} has the same shape for every image")


def _first_layer(nodes: Mapping[str, Any], way: Sequence[str]) -> tuple[int, str | None]:
    """Return how many tensors of *way* need no layer of a network, and the first layer if any."""
    hanging = reached(nodes, way[0])
    for number, tensor in enumerate(way):
        before = needed(nodes, tensor, way[0])
        for name, node in nodes.items():
            if name in before and name in hanging and _LAYER.search(node.op):
                return number, name
    return len(way) - 1, None


def _is_row(original: _Original, tensor: str) -> bool:
    """Whether *tensor* is one row of the same shape for every probe."""
    shapes = {each.shape for each in original.of(tensor)}
    return len(shapes) == 1 and len(shape := shapes.pop()) > 1 and shape[0] == 1


def _check_outputs(original: _Original, before: Sequence[Value]) -> None:
    """See that outputs can be compared, with those of the run *before* and with each other."""
    outputs = original.of(original.output)
    for output, earlier in zip(outputs, before, strict=True):
        if not np.isfinite(output).all():
            raise _StaysAlone("its output holds numbers that are not finite")
        if difference(output, earlier) > bound(output.dtype):
            raise _StaysAlone(f"it is not deterministic{_lottery(original)}")
        if output.shape != outputs[0].shape:
            shapes = f"{list(outputs[0].shape)} and {list(output.shape)}"
            raise _StaysAlone(f"the shape of its output changes with the image: {shapes}")


def _lottery(original: _Original) -> str:
    wanted = needed(original.nodes, original.output, original.input)
    for name in original.nodes:
        if name in wanted and original.run.draws_lots(name):
            return f": {_described(original, name)} draws random numbers"
    return ""


def _tried(original: _Original, cut: str) -> _Trial:
    """Cut the graph at the tensor *cut* and run all rows of it together."""
    import tensorflow.compat.v1 as tf

    batched = _cut_in_two(original, cut)
    rows = np.concatenate(original.of(cut))
    outputs = original.of(original.output)
    expected = np.stack([each.reshape(batched.scores) for each in outputs])
    allowed = bound(expected.dtype, *_coarse_dtypes(batched))
    behind = dominators(original.nodes, cut, original.output)[1:]
    witnesses = [each for each in original.witnesses if each in behind]
    if not any(told_apart(original.of(each)) for each in witnesses):
        raise _StaysAlone(f"it makes the same of {len(rows)} different images")
    apart = 0.0
    # TensorFlow's optimiser believes what nodes say of shapes, and some may still say "one row".
    for optimised in (False, True):
        try:
            with _run_of(batched, optimised=optimised) as (run, scores):
                value, *within = run([scores, *witnesses], rows)
        except (tf.errors.OpError, ValueError) as error:
            return _Trial(batched, rows, cut, passed=False, error=error)
        apart = max(apart, difference(value, expected))
        held = map(holds_each_row, within, map(original.of, witnesses))
        parted = [each for each, holds in zip(witnesses, held, strict=True) if not holds]
        if apart > allowed or parted:
            ends = [cut, *witnesses, original.output]
            place = ends.index(parted[0]) if parted else len(ends) - 1
            batched = replace(batched, difference=apart)
            return _Trial(batched, rows, ends[place - 1], passed=False, end=ends[place])
    return _Trial(replace(batched, difference=apart), rows, cut, passed=True)


def _cut_in_two(original: _Original, cut: str) -> Batched:
    graph_def, output = original.graph_def, original.output
    front = needed(original.nodes, cut) if cut != original.input else set[str]()
    names = observed_tensors(graph_def, cut, output)
    shapes = [each.shape for each in original.run(names, original.feeds[0])]
    row, scores = original.of(cut)[0], original.of(output)[0].shape
    return Batched(
        takes=original.takes,
        input=original.input,
        prefix=part_of(graph_def, front),
        cut=cut,
        row=row.shape[1:],
        dtype=row.dtype,
        suffix=freed_behind(graph_def, cut, output, dict(zip(names, shapes, strict=True))),
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


def _coarse_dtypes(batched: Batched) -> Iterator["np.dtype[Any]"]:
    """Yield the types in which the rows are computed with, as far as they are coarse."""
    import tensorflow.compat.v1 as tf

    coarse = {each.as_datatype_enum: each.as_numpy_dtype for each in (tf.float16, tf.bfloat16)}
    nodes = {node.name: node for node in batched.suffix.node}
    for name in data_path(nodes, batched.cut, batched.output):
        attributes = nodes[name].attr.values()
        yield from (coarse[each.type] for each in attributes if each.type in coarse)


def _obstacle(original: _Original, trial: _Trial) -> str:
    """Return which node stood in the way of the *trial*, in one line."""
    error, count = trial.error, len(trial.rows)
    blamed = blamed_node(error) if error else None
    # What TensorFlow refuses to put together cannot be looked into, nor what fails in a function.
    if error is None or (blamed in original.nodes and not isinstance(error, ValueError)):
        ends = original.nodes[blamed].input if blamed else [trial.end]
        parted = _parting(original, trial, ends)
        if parted:
            return f"{_described(original, parted)} mixes the rows of a batch"
    if error:
        what = _described(original, blamed) if blamed else "it"
        return f"{what} cannot take {count} rows: {one_line(error)}"
    return f"its output differs by {trial.batched.difference:.1e} in a batch of {count} rows"


def _described(original: _Original, name: str) -> str:
    node = original.nodes.get(name)  # none where a function within the graph has it
    return f"its node {name!r} ({node.op})" if node else f"its node {name!r}"


def _parting(original: _Original, trial: _Trial, ends: Sequence[str]) -> str | None:
    """Return the first node at which the rows part that part at one of *ends*; None if none do."""
    batched = trial.batched
    nodes = {node.name: node for node in batched.suffix.node}
    path = data_path(nodes, batched.cut, batched.output)
    tensors = ["{}:{}".format(*each) for each in map(edge, ends) if each[0] in path]
    with _run_of(batched) as (run, _):
        singles = [partial(original.run, value=feed) for feed in original.feeds]
        first = partial(parting, batch=partial(run, value=trial.rows), singles=singles)
        found = first(run.numbers(tensors))
        if found is None:
            return None
        way = [trial.start, *run.numbers(dominators(nodes, trial.start, found)[1:])]
        while len(way) > 2:
            step = ceil(len(way) / AT_ONCE)
            place = way.index(first([*way[step:-1:step], way[-1]]) or way[-1])
            way = way[place - step : place + 1]
        between = _outputs(nodes, data_path(nodes, way[0], way[-1]))
        return edge(first(run.numbers(between)) or found)[0]


def _outputs(nodes: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the tensors of the nodes *names* that other nodes take, in the order of *names*."""
    place = {name: number for number, name in enumerate(names)}
    taken = {edge(each) for node in nodes.values() for each in node.input}
    values = [each for each in taken if each[0] in place and each[1] != CONTROL]
    return ["{}:{}".format(*each) for each in sorted(values, key=lambda each: place[each[0]])]
