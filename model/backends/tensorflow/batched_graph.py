"""
Rewrite a graph of one image so that it takes batches; check that no row's result changes.

A graph that decodes its image is cut in two behind the decoding and resizing: the prefix turns
one image into one row, and the suffix takes any number of rows.  A graph that takes pixels has no
prefix.  The check is a measurement: the suffix runs on several rows, and its outputs are compared
with those of the original graph.

The check runs the graph some dozens of times on the CPU, on the thread that loads a model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from model.backends.tensorflow.error_text import failed_node, one_line
from model.backends.tensorflow.rewriting.batch_axis import (
    Shape,
    open_batch_axis,
    subgraph,
    tensors_to_observe,
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
from model.backends.tensorflow.trials.row_comparison import (
    MAX_TENSORS_PER_FETCH,
    Value,
    difference,
    first_mixed_tensor,
    first_row_is_distinct,
    rows_are_independent,
    tolerance,
)

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Probe = bytes | Value  #: an encoded image, or pixels [height, width, 3]

MAX_TRIALS = 8  #: tensors at which a cut is tried

#: Number of tensors before the output that are compared as well: in scores near 0 or 1 a
#: difference may be too small to see.
COMPARED_TENSORS = 16

#: Operations of a network's layers.  The prefix runs on one image at a time, so it contains none.
_LAYER_OPERATION = re.compile("Conv|MatMul|Einsum|BatchNorm")


@dataclass(frozen=True, slots=True)
class BatchedGraph:
    """A graph that takes batches, in two parts: `prefix` and `suffix`."""

    probe_format: str  #: the format of the probe images that the graph accepted
    input: str  #: the tensor that takes one image, NODE:OUTPUT
    prefix: "tf.GraphDef"  #: computes *cut*, [1, *row], from *input*; empty if *input* takes pixels
    cut: str  #: the tensor between the parts; it is *input* if *input* takes pixels
    row: Shape  #: the shape of one row of *cut*, without the batch axis
    dtype: "np.dtype[Any]"  #: of the rows
    suffix: "tf.GraphDef"  #: computes *output* from *cut*, [rows, *row]
    output: str
    scores: Shape  #: the shape of the scores of one row
    #: The largest difference between one run of all probes and one run per probe; see `difference`.
    difference: float = np.inf

    def connect(self, rows: "tf.Tensor") -> "tf.Tensor":
        """
        Import the suffix into the default graph; return its output, [rows, *self.scores].

        *rows*, [rows, *self.row], replaces `cut`.  Raises ValueError if *rows* does not fit the
        suffix.
        """
        import tensorflow.compat.v1 as tf

        (output,) = tf.import_graph_def(
            self.suffix, input_map={self.cut: rows}, return_elements=[self.output], name=""
        )
        return tf.reshape(output, (-1, *self.scores), name="tensorferry_scores")


@dataclass(frozen=True, slots=True)
class NotBatchable:
    """A graph that can take only one image at a time."""

    reason: str  #: one line, without the name of the file


def make_batched(
    graph_def: "tf.GraphDef",
    input_name: str,
    output_name: str,
    probes: Mapping[str, Sequence[Probe]],
) -> BatchedGraph | NotBatchable:
    """
    Return *graph_def* rewritten for batches, or the reason why that is impossible.

    *probes* maps the name of an image format to at least five different images; the first format
    that the graph accepts is used.  A tensor is a possible cut if it has the same shape for all
    probes; an image that is not a probe may still give a row of another shape.  Tensors are named
    NODE:OUTPUT.  Raises ValueError if *graph_def* cannot be imported.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    try:
        with on_cpu(graph, input_name) as run:
            return _first_correct_cut(
                _run_original(graph_def, input_name, output_name, run, probes)
            )
    except _NotBatchableError as obstacle:
        return NotBatchable(str(obstacle))
    except tf.errors.OpError as error:  # although an earlier run of the graph succeeded
        return NotBatchable(one_line(error))


class _NotBatchableError(Exception):
    """The graph cannot take batches; the message is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class _Original:
    """The unchanged graph of the file, and the values of its tensors for each probe."""

    graph_def: "tf.GraphDef"
    nodes: Mapping[str, Any]
    input: str
    output: str
    run: CpuRun
    cuts: Sequence[str]  #: tensors at which a cut is possible, in order of computation
    layer: str | None  #: the first node behind *cuts* that is a layer
    compared: Sequence[str]
    probe_format: str
    feeds: Sequence[Probe]
    values: Sequence[Mapping[str, Value]]  #: for each probe, by name of a tensor

    def of(self, tensor: str) -> list[Value]:
        """Return the values of *tensor*, one for each probe."""
        return [each[tensor] for each in self.values]


@dataclass(frozen=True, slots=True)
class _Trial:
    """The result of a run of the rows of all probes in one batch."""

    batched: BatchedGraph
    rows: Value  #: one for each probe
    start: str  #: the last tensor known to equal its value in the single runs
    passed: bool  #: whether each row of the output equals that of its single run
    end: str = ""  #: the first compared tensor that differs
    error: Exception | None = None  #: TensorFlow's error, if the run failed


def _run_original(
    graph_def: "tf.GraphDef",
    input_name: str,
    output: str,
    run: CpuRun,
    probes: Mapping[str, Sequence[Probe]],
) -> _Original:
    """Run the graph twice, on the probes of the first format that it accepts; check the outputs."""
    nodes = {node.name: node for node in graph_def.node}
    path = dominators(nodes, input_name, output)
    if not path:
        raise _NotBatchableError("its output does not depend on its input")
    if output not in run.numeric_tensors(path):
        raise _NotBatchableError("its output holds no numbers")
    pixels = not isinstance(next(iter(probes.values()))[0], bytes)
    before, layer = (1, None) if pixels else _first_layer(nodes, path)
    cuts = run.numeric_tensors(path[:before])
    compared = [
        each for each in run.numeric_tensors(path)[-COMPARED_TENSORS:] if each != input_name
    ]
    names = list(dict.fromkeys((*cuts, *compared, output)))
    probe_format, feeds, first = _first_accepted_probes(run, names, probes)
    again = [dict(zip(names, run(names, feed), strict=True)) for feed in feeds]
    original = _Original(
        graph_def, nodes, input_name, output, run, cuts, layer, compared, probe_format, feeds, again
    )
    _check_outputs(original, [each[names.index(output)] for each in first])
    return original


def _first_accepted_probes(
    run: CpuRun, names: Sequence[str], probes: Mapping[str, Sequence[Probe]]
) -> tuple[str, list[Probe], list[list[Value]]]:
    """Return the first accepted format, its probes as feeds, and for each the values of *names*."""
    import tensorflow.compat.v1 as tf

    reasons = []
    for kind, images in probes.items():
        feeds = [each if isinstance(each, bytes) else each[np.newaxis] for each in images]
        try:
            return kind, feeds, [run(names, feed) for feed in feeds]
        except (tf.errors.OpError, ValueError) as error:
            reasons.append(one_line(error))
    formats = " nor ".join(probes)
    raise _NotBatchableError(
        f"takes {'neither' if len(reasons) > 1 else 'no'} {formats}: {reasons[0]}"
    )


def _first_correct_cut(original: _Original) -> BatchedGraph:
    rows = filter(partial(_is_row, original), original.cuts)
    # The smallest row is the cheapest to queue and to copy; of equal sizes the first cut
    # puts the least work into the prefix.
    smallest = sorted(rows, key=lambda cut: original.of(cut)[0].nbytes)
    trials = []
    for cut in smallest[:MAX_TRIALS]:
        trials.append(_try_cut(original, cut))
        if trials[-1].passed:
            return trials[-1].batched
    if trials:
        # The obstacle of the cut nearest to the network is an obstacle of every cut.
        nearest = max(trials, key=lambda trial: original.cuts.index(trial.batched.cut))
        raise _NotBatchableError(_obstacle(original, nearest))
    where = "behind the decoding"
    if original.layer:
        where = f"in front of {_describe_node(original, original.layer)}"
    raise _NotBatchableError(f"no tensor {where} has the same shape for every image")


def _first_layer(nodes: Mapping[str, Any], path: Sequence[str]) -> tuple[int, str | None]:
    """Return the count of tensors of *path* in front of all layers, and the first layer or None."""
    dependent = reached(nodes, path[0])
    for number, tensor in enumerate(path):
        before = needed(nodes, tensor, path[0])
        for name, node in nodes.items():
            if name in before and name in dependent and _LAYER_OPERATION.search(node.op):
                return number, name
    return len(path) - 1, None


def _is_row(original: _Original, tensor: str) -> bool:
    """Whether *tensor* is one row, [1, ...], of the same shape for every probe."""
    shapes = {each.shape for each in original.of(tensor)}
    return len(shapes) == 1 and len(shape := shapes.pop()) > 1 and shape[0] == 1


def _check_outputs(original: _Original, before: Sequence[Value]) -> None:
    """Raise unless the outputs are finite, have one shape and equal *before*, of an earlier run."""
    outputs = original.of(original.output)
    for output, earlier in zip(outputs, before, strict=True):
        if not np.isfinite(output).all():
            raise _NotBatchableError("its output holds numbers that are not finite")
        if difference(output, earlier) > tolerance(output.dtype):
            raise _NotBatchableError(f"it is not deterministic{_random_node_text(original)}")
        if output.shape != outputs[0].shape:
            shapes = f"{list(outputs[0].shape)} and {list(output.shape)}"
            raise _NotBatchableError(f"the shape of its output changes with the image: {shapes}")


def _random_node_text(original: _Original) -> str:
    wanted = needed(original.nodes, original.output, original.input)
    for name in original.nodes:
        if name in wanted and original.run.is_random(name):
            return f": {_describe_node(original, name)} draws random numbers"
    return ""


def _try_cut(original: _Original, cut: str) -> _Trial:
    """Run the part behind the tensor *cut* on the rows of all probes in one batch, and compare."""
    import tensorflow.compat.v1 as tf

    batched = _split_at(original, cut)
    rows = np.concatenate(original.of(cut))
    outputs = original.of(original.output)
    expected = np.stack([each.reshape(batched.scores) for each in outputs])
    allowed = tolerance(expected.dtype, *_half_precision_dtypes(batched))
    behind = dominators(original.nodes, cut, original.output)[1:]
    compared = [each for each in original.compared if each in behind]
    if not any(first_row_is_distinct(original.of(each)) for each in compared):
        raise _NotBatchableError(f"it gives the same result for {len(rows)} different images")
    largest = 0.0
    # TensorFlow's optimiser relies on the shapes that nodes state; some may still state one row.
    for optimised in (False, True):
        try:
            with _suffix_run(batched, optimised=optimised) as (run, scores):
                value, *within = run([scores, *compared], rows)
        except (tf.errors.OpError, ValueError) as error:
            return _Trial(batched, rows, cut, passed=False, error=error)
        largest = max(largest, difference(value, expected))
        independent = map(rows_are_independent, within, map(original.of, compared))
        mixed = [each for each, same in zip(compared, independent, strict=True) if not same]
        if largest > allowed or mixed:
            ends = [cut, *compared, original.output]
            place = ends.index(mixed[0]) if mixed else len(ends) - 1
            batched = replace(batched, difference=largest)
            return _Trial(batched, rows, ends[place - 1], passed=False, end=ends[place])
    return _Trial(replace(batched, difference=largest), rows, cut, passed=True)


def _split_at(original: _Original, cut: str) -> BatchedGraph:
    graph_def, output = original.graph_def, original.output
    front = needed(original.nodes, cut) if cut != original.input else set[str]()
    names = tensors_to_observe(graph_def, cut, output)
    shapes = [each.shape for each in original.run(names, original.feeds[0])]
    row, scores = original.of(cut)[0], original.of(output)[0].shape
    return BatchedGraph(
        probe_format=original.probe_format,
        input=original.input,
        prefix=subgraph(graph_def, front),
        cut=cut,
        row=row.shape[1:],
        dtype=row.dtype,
        suffix=open_batch_axis(graph_def, cut, output, dict(zip(names, shapes, strict=True))),
        output=output,
        scores=scores[1:] if len(scores) > 1 and scores[0] == 1 else scores,
    )


@contextmanager
def _suffix_run(batched: BatchedGraph, *, optimised: bool = False) -> Iterator[tuple[CpuRun, str]]:
    """Provide a `CpuRun` of the suffix of *batched*, and the name of its output tensor."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        rows = tf.placeholder(batched.dtype, (None, *batched.row), name="tensorferry_rows")
        scores = batched.connect(rows)
    with on_cpu(graph, rows.name, optimised=optimised) as run:
        yield run, scores.name


def _half_precision_dtypes(batched: BatchedGraph) -> Iterator["np.dtype[Any]"]:
    """Yield the half-precision dtypes that the suffix computes with."""
    import tensorflow.compat.v1 as tf

    half = {each.as_datatype_enum: each.as_numpy_dtype for each in (tf.float16, tf.bfloat16)}
    nodes = {node.name: node for node in batched.suffix.node}
    for name in data_path(nodes, batched.cut, batched.output):
        attributes = nodes[name].attr.values()
        yield from (half[each.type] for each in attributes if each.type in half)


def _obstacle(original: _Original, trial: _Trial) -> str:
    """Return why *trial* failed, in one line that names the node if it is known."""
    error, count = trial.error, len(trial.rows)
    failed = failed_node(error) if error else None
    # No tensor can be fetched from a graph that TensorFlow refuses, nor from within a function.
    if error is None or (failed in original.nodes and not isinstance(error, ValueError)):
        ends = original.nodes[failed].input if failed else [trial.end]
        mixed = _first_mixing_node(original, trial, ends)
        if mixed:
            return f"{_describe_node(original, mixed)} mixes the rows of a batch"
    if error:
        what = _describe_node(original, failed) if failed else "it"
        return f"{what} cannot take {count} rows: {one_line(error)}"
    return f"its output differs by {trial.batched.difference:.1e} in a batch of {count} rows"


def _describe_node(original: _Original, name: str) -> str:
    node = original.nodes.get(name)  # None for a node within a function
    return f"its node {name!r} ({node.op})" if node else f"its node {name!r}"


def _first_mixing_node(original: _Original, trial: _Trial, ends: Sequence[str]) -> str | None:
    """Return the first node that mixes rows, among those that *ends* depend on, or None."""
    batched = trial.batched
    nodes = {node.name: node for node in batched.suffix.node}
    names = data_path(nodes, batched.cut, batched.output)
    tensors = ["{}:{}".format(*each) for each in map(edge, ends) if each[0] in names]
    with _suffix_run(batched) as (run, _):
        singles = [partial(original.run, value=feed) for feed in original.feeds]
        first = partial(first_mixed_tensor, batch=partial(run, value=trial.rows), singles=singles)
        found = first(run.numeric_tensors(tensors))
        if found is None:
            return None
        path = [trial.start, *run.numeric_tensors(dominators(nodes, trial.start, found)[1:])]
        while len(path) > 2:
            step = ceil(len(path) / MAX_TENSORS_PER_FETCH)
            place = path.index(first([*path[step:-1:step], path[-1]]) or path[-1])
            path = path[place - step : place + 1]
        between = _consumed_outputs(nodes, data_path(nodes, path[0], path[-1]))
        return edge(first(run.numeric_tensors(between)) or found)[0]


def _consumed_outputs(nodes: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return those outputs of the nodes *names*, in this order, that any node has as an input."""
    place = {name: number for number, name in enumerate(names)}
    taken = {edge(each) for node in nodes.values() for each in node.input}
    values = [each for each in taken if each[0] in place and each[1] != CONTROL]
    return ["{}:{}".format(*each) for each in sorted(values, key=lambda each: place[each[0]])]
