"""Graphs of one image or one row that the tests make batched, and how they run them."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from model.backends.tensorflow.batched_graph import (
    BatchedGraph,
    Probe,
    make_batched,
)
from tests.integration import scalar_graphs as made
from tests.integration.graphs import SCORES, Build
from tests.integration.scalar_graphs import chain, part_of


def graph_def(build: Build, *, add_shapes: bool = False) -> Any:
    """Return the GraphDef of a graph, with the shapes of outputs where *add_shapes*."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        build(tf)
    return graph.as_graph_def(add_shapes=add_shapes)


def one_at_a_time(definition: Any, feed: str, fetched: str, values: Sequence[Any]) -> Any:
    """Return the result of the graph for each value, one run each."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
        with tf.Session() as session:
            return [session.run(fetched, {feed: value}) for value in values]


def together(batched: BatchedGraph, rows: Any) -> Any:
    """Return the scores of all *rows* in one run."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        fed = tf.placeholder(batched.dtype, (None, *batched.row))
        scores = batched.connect(fed)
        assert scores.shape.as_list() == [None, *batched.scores]
        with tf.Session() as session:
            return session.run(scores, {fed: rows})


def freed(definition: Any, feed: str, probes: Mapping[str, Sequence[Probe]]) -> BatchedGraph:
    """Return the graph for batches; the failure's message holds the obstacle."""
    result = make_batched(definition, f"{feed}:0", f"{SCORES}:0", probes)
    assert isinstance(result, BatchedGraph), result
    return result


SMALL_DENSE = (*made.SMALL, made.reshaped(1, 128), made.dense(5), made.softmax)


def small(*source: made.Part) -> Build:
    """Return a small network behind another decoding."""
    return chain(made.contents, *source, *SMALL_DENSE)


def behind_small(*parts: made.Part) -> Build:
    """Return a small network with other parts behind its layers."""
    return chain(made.contents, made.decoded, made.resized(64), *made.SMALL, *parts)


def standardised(tf: ModuleType, images: Any) -> Any:
    """Resize an image without a batch axis, by a function that adds one and drops it."""
    image = tf.image.resize_images(images[0], [64, 64])
    return tf.expand_dims(tf.image.per_image_standardization(image), 0)


def time_major(start: made.Part, *, functional: bool) -> made.Part:
    """Sum along the image, in a loop over time: of nodes, or of functions in newer graphs."""

    def part(tf: ModuleType, rows: Any) -> Any:
        steps = tf.transpose(tf.reshape(rows, [-1, 16, 8]), [1, 0, 2])
        weights = tf.constant(made.weights(16, 8))

        def step(number: Any, state: Any) -> tuple[Any, Any]:
            both = tf.concat([state, steps[number]], 1, name="lstm/concat")
            return number + 1, tf.tanh(tf.matmul(both, weights))

        (tf.enable_control_flow_v2 if functional else tf.disable_control_flow_v2)()
        try:
            return tf.while_loop(lambda number, _: number < 16, step, (0, start(tf, steps)))[1]
        finally:
            tf.enable_control_flow_v2()

    return part


def first_nothing(_: ModuleType, steps: Any) -> Any:
    """Return zeros for as many rows as there are."""
    return steps[0] * 0.0


def constant_state(tf: ModuleType, _: Any) -> Any:
    """Return zeros for one row."""
    return tf.zeros([1, 8], name="lstm/state")


def branch(tf: ModuleType, rows: Any) -> Any:
    """Compute something else while training, as graphs do that were frozen with the branch."""
    training = tf.placeholder_with_default(False, (), name="training")
    kept, dropped = tf.raw_ops.Switch(data=rows, pred=training)
    return tf.raw_ops.Merge(inputs=[tf.identity(kept), dropped * 2.0])[0]


#: Graphs that take an encoded image, and the shape of its scores; a row is 64 or 79 pixels wide.
ENCODED: dict[str, tuple[Build, tuple[int, ...]]] = {
    "retrained": (chain(made.contents, made.decoded, made.resized(), *made.RETRAINED), (5,)),
    "retrained, of 2015": (
        chain(made.constant_contents, made.decoded, made.resized(), *made.RETRAINED),
        (5,),
    ),
    "a PNG, bicubic": (small(made.png_decoded, made.resized(64, "resize_bicubic")), (5,)),
    "a PNG, nearest": (small(made.png_decoded, made.resized(64, "resize_nearest_neighbor")), (5,)),
    "any format": (small(made.any_decoded, made.resized(64)), (5,)),
    "standardised one by one": (small(made.decoded, standardised), (5,)),
    "scores of no batch": (
        behind_small(made.reshaped(1, 128), made.dense(5), made.softmax, made.squeezed()),
        (5,),
    ),
    "the first of one, as a slice": (
        behind_small(
            made.reshaped(1, 128),
            part_of("slice", [0, 0], [1, 100]),
            lambda _, rows: rows[0:1, ::2],
            made.dense(5),
        ),
        (5,),
    ),
    "squeezed and expanded": (
        behind_small(
            made.reshaped(1, 1, 128), made.squeezed(), part_of("expand_dims", 0), made.dense(5)
        ),
        (5,),
    ),
    "unstacked and stacked": (
        behind_small(
            made.reshaped(-1, 128),
            lambda tf, rows: tf.stack(tf.unstack(rows, 1), axis=-2),
            made.dense(5),
        ),
        (5,),
    ),
    "places as rows": (
        behind_small(
            made.reshaped(16, 8),
            made.dense(6),
            made.reshaped(1, 4, 4, 6),
            part_of("reduce_mean", [1, 2]),
        ),
        (6,),
    ),
    "a score for each place": (behind_small(made.reshaped(16, 8)), (16, 8)),
    "a size of its own": (
        behind_small(
            lambda tf, rows: tf.reshape(rows, [tf.raw_ops.Shape(input=rows)[0], -1]),
            part_of("ensure_shape", [1, 128]),
        ),
        (128,),
    ),
    "time before rows, by a size of its own": (
        behind_small(
            made.reshaped(-1, 16, 8),
            part_of("transpose", [1, 0, 2]),
            lambda tf, rows: tf.reshape(rows, [4, 4, tf.raw_ops.Shape(input=rows)[1], 8]),
            part_of("reduce_mean", [0, 1]),
        ),
        (8,),
    ),
    "the best label": (behind_small(made.reshaped(1, 128), part_of("argmax", 1)), (1,)),
    "one number": (behind_small(made.reshaped(1, 128), made.dense(1), made.squeezed()), ()),
    "a loop of nodes, time before rows": (
        behind_small(time_major(first_nothing, functional=False), made.dense(5)),
        (5,),
    ),
    "a loop of functions, time before rows": (
        behind_small(time_major(first_nothing, functional=True), made.dense(5)),
        (5,),
    ),
    "a branch": (behind_small(branch, made.reshaped(1, 128)), (128,)),
    "batch normalisation": (
        behind_small(
            lambda tf, rows: tf.nn.fused_batch_norm(
                rows, [1.0] * 8, [0.5] * 8, [0.1] * 8, [2.0] * 8, is_training=False
            )[0],
            made.reshaped(1, 128),
        ),
        (128,),
    ),
    "half as precise": (
        behind_small(
            part_of("cast", "float16"),
            made.reshaped(1, 128),
            part_of("nn.softmax"),
            part_of("cast", "float32"),
        ),
        (128,),
    ),
}
