"""Graphs that take one image, rewritten to take batches: their results, or the obstacle."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.backends.tensorflow.batched_graph import (
    BatchedGraph,
    NotBatchable,
    Probe,
    make_batched,
)
from model.backends.tensorflow.trials.probe_images import probe_images, probe_pixels
from model.images.layout import ImageLayout
from tests.images import coloured, encoded
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


#: Graphs that take an encoded image, the shape of a row, and its scores.
ENCODED: dict[str, tuple[Build, tuple[int, ...], tuple[int, ...]]] = {
    "retrained": (
        chain(made.contents, made.decoded, made.resized(), *made.RETRAINED),
        (79, 79, 3),
        (5,),
    ),
    "retrained, of 2015": (
        chain(made.constant_contents, made.decoded, made.resized(), *made.RETRAINED),
        (79, 79, 3),
        (5,),
    ),
    "a PNG, bicubic": (
        small(made.png_decoded, made.resized(64, "resize_bicubic")),
        (64, 64, 3),
        (5,),
    ),
    "a PNG, area": (small(made.png_decoded, made.resized(64, "resize_area")), (64, 64, 3), (5,)),
    "a PNG, nearest": (
        small(made.png_decoded, made.resized(64, "resize_nearest_neighbor")),
        (64, 64, 3),
        (5,),
    ),
    "any format": (small(made.any_decoded, made.resized(64)), (64, 64, 3), (5,)),
    "standardised one by one": (small(made.decoded, standardised), (64, 64, 3), (5,)),
    "scores of no batch": (
        behind_small(made.reshaped(1, 128), made.dense(5), made.softmax, made.squeezed()),
        (64, 64, 3),
        (5,),
    ),
    "the first of one": (
        behind_small(made.reshaped(1, 128), made.dense(5), lambda _, rows: rows[0]),
        (64, 64, 3),
        (5,),
    ),
    "the first of one, as a slice": (
        behind_small(
            made.reshaped(1, 128),
            part_of("slice", [0, 0], [1, 100]),
            lambda _, rows: rows[0:1, ::2],
            made.dense(5),
        ),
        (64, 64, 3),
        (5,),
    ),
    "squeezed and expanded": (
        behind_small(
            made.reshaped(1, 1, 128), made.squeezed(), part_of("expand_dims", 0), made.dense(5)
        ),
        (64, 64, 3),
        (5,),
    ),
    "unstacked and stacked": (
        behind_small(
            made.reshaped(-1, 128),
            lambda tf, rows: tf.stack(tf.unstack(rows, 1), axis=-2),
            made.dense(5),
        ),
        (64, 64, 3),
        (5,),
    ),
    "places as rows": (
        behind_small(
            made.reshaped(16, 8),
            made.dense(6),
            made.reshaped(1, 4, 4, 6),
            part_of("reduce_mean", [1, 2]),
        ),
        (64, 64, 3),
        (6,),
    ),
    "a score for each place": (behind_small(made.reshaped(16, 8)), (64, 64, 3), (16, 8)),
    "a size of its own": (
        behind_small(
            lambda tf, rows: tf.reshape(rows, [tf.raw_ops.Shape(input=rows)[0], -1]),
            part_of("ensure_shape", [1, 128]),
        ),
        (64, 64, 3),
        (128,),
    ),
    "time before rows, by a size of its own": (
        behind_small(
            made.reshaped(-1, 16, 8),
            part_of("transpose", [1, 0, 2]),
            lambda tf, rows: tf.reshape(rows, [4, 4, tf.raw_ops.Shape(input=rows)[1], 8]),
            part_of("reduce_mean", [0, 1]),
        ),
        (64, 64, 3),
        (8,),
    ),
    "the best label": (
        behind_small(made.reshaped(1, 128), part_of("argmax", 1)),
        (64, 64, 3),
        (1,),
    ),
    "one number": (
        behind_small(made.reshaped(1, 128), made.dense(1), made.squeezed()),
        (64, 64, 3),
        (),
    ),
    "a loop of nodes, time before rows": (
        behind_small(time_major(first_nothing, functional=False), made.dense(5)),
        (64, 64, 3),
        (5,),
    ),
    "a loop of functions, time before rows": (
        behind_small(time_major(first_nothing, functional=True), made.dense(5)),
        (64, 64, 3),
        (5,),
    ),
    "a branch": (
        behind_small(branch, made.reshaped(1, 128)),
        (64, 64, 3),
        (128,),
    ),
    "batch normalisation": (
        behind_small(
            lambda tf, rows: tf.nn.fused_batch_norm(
                rows, [1.0] * 8, [0.5] * 8, [0.1] * 8, [2.0] * 8, is_training=False
            )[0],
            made.reshaped(1, 128),
        ),
        (64, 64, 3),
        (128,),
    ),
    "half as precise": (
        behind_small(
            part_of("cast", "float16"),
            made.reshaped(1, 128),
            part_of("nn.softmax"),
            part_of("cast", "float32"),
        ),
        (64, 64, 3),
        (128,),
    ),
}


@pytest.mark.parametrize(("build", "row", "scores"), list(ENCODED.values()), ids=list(ENCODED))
def test_encoded_images_in_a_batch_get_what_each_gets_alone(
    build: Build, row: tuple[int, ...], scores: tuple[int, ...]
) -> None:
    """Images other than the probes, of other sizes: each row equals the graph's own result."""
    definition = graph_def(build)
    batched = freed(definition, made.CONTENTS, probe_images())
    assert (batched.probe_format, batched.row, batched.scores) == ("JPEG", row, scores)
    sizes = [(20, 30), (64, 64), (500, 333), (1, 90), (101, 100), (31, 640), (8, 8)]
    files = [encoded(coloured(*size), "JPEG") for size in sizes]
    rows = one_at_a_time(batched.prefix, batched.input, batched.cut, files)
    alone = one_at_a_time(definition, batched.input, batched.output, files)
    expected = np.stack([each.reshape(scores) for each in alone])
    tolerance = 1e-2 if build is ENCODED["half as precise"][0] else 1e-5
    np.testing.assert_allclose(together(batched, np.concatenate(rows)), expected, 0, tolerance)


def waited_for(tf: ModuleType, rows: Any) -> Any:
    """Make a constant wait for the rows by a control edge."""
    with tf.control_dependencies([rows]):
        return rows * tf.constant(0.5)


def placed_with(tf: ModuleType, rows: Any) -> Any:
    """Colocate a node with the rows, as the branches of a condition do."""
    with tf.get_default_graph().colocate_with(rows.op):
        return tf.identity(rows)


#: Graphs that take pixels, their dtype and size, and the number of their scores.
PIXELS: dict[str, tuple[Build, str, int, int]] = {
    "squeezed of all": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(), made.softmax),
        "float32",
        224,
        6,
    ),
    "squeezed of height and width": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(1, 2), made.reshaped(1, 6), made.softmax),
        "float32",
        224,
        6,
    ),
    "reshaped to one": (
        chain(made.pixels(None), *made.MOBILE, made.reshaped(1, -1), made.softmax),
        "float32",
        224,
        6,
    ),
    "squeezed of what comes first from behind": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(-4, -3), part_of("expand_dims", -3)),
        "float32",
        224,
        6,
    ),
    "an order to wait for the image": (
        chain(made.pixels(side=64), waited_for, *SMALL_DENSE),
        "float32",
        64,
        5,
    ),
    "an order to run where the image is": (
        chain(made.pixels(side=64), placed_with, *SMALL_DENSE),
        "float32",
        64,
        5,
    ),
    "bytes": (
        chain(made.pixels(1, "uint8", 64), *SMALL_DENSE),
        "uint8",
        64,
        5,
    ),
    "halves": (
        chain(made.pixels(1, "float16", 64), *SMALL_DENSE),
        "float16",
        64,
        5,
    ),
}


@pytest.mark.parametrize(
    ("build", "dtype", "side", "labels"), list(PIXELS.values()), ids=list(PIXELS)
)
def test_pixels_in_a_batch_get_what_each_gets_alone(
    build: Build, dtype: str, side: int, labels: int
) -> None:
    """The cut is the input itself; the prefix is empty."""
    definition = graph_def(build)
    batched = freed(definition, made.PIXELS, probe_pixels(ImageLayout(None, side, side, 3), dtype))
    assert (batched.probe_format, batched.cut, len(batched.prefix.node)) == ("pixels", "input:0", 0)
    assert (batched.row, batched.dtype) == ((side, side, 3), np.dtype(dtype))
    images = np.random.default_rng(1).integers(0, 256, (7, *batched.row)).astype(dtype)
    alone = one_at_a_time(definition, "input:0", f"{SCORES}:0", np.split(images, 7))
    expected = np.stack([each.ravel()[-labels:] for each in alone])
    np.testing.assert_allclose(
        together(batched, images).reshape(7, labels), expected, rtol=0, atol=1e-5
    )


def training_mode(tf: ModuleType, rows: Any) -> Any:
    """Normalise by the mean of the batch itself."""
    with tf.name_scope("bn"):
        return tf.nn.fused_batch_norm(rows, [1.0] * 8, [0.5] * 8, is_training=True)[0]


def with_state(tf: ModuleType, rows: Any) -> Any:
    """Concatenate the rows with a state that was frozen for one row."""
    return tf.concat([rows, tf.zeros([1, 4], name="lstm/state")], 1, name="lstm/concat")


def shrunk_by_half(tf: ModuleType, images: Any) -> Any:
    """Resize by a factor."""
    return tf.image.resize_bilinear(images, tf.shape(images)[1:3] // 2)


def cropped_at_random(tf: ModuleType, images: Any) -> Any:
    """Crop at a random place, as for training."""
    return tf.image.random_crop(tf.image.resize_bilinear(images, [80, 80]), [1, 64, 64, 3])


def nothing_but_png(tf: ModuleType, file: Any) -> Any:
    """Check the first bytes before decoding."""
    is_png = tf.debugging.assert_equal(tf.strings.substr(file, 1, 3), "PNG")
    with tf.control_dependencies([is_png]):
        return tf.identity(file)


#: Graphs that take only one encoded image, and the reason.
NO_FORMAT = "takes neither JPEG nor PNG nor BMP nor GIF"

ALONE: dict[str, tuple[Build, str]] = {
    "a state of one row": (
        behind_small(made.reshaped(1, 128), with_state, made.dense(5)),
        "its node 'lstm/concat' (ConcatV2) cannot take 5 rows: ConcatOp : Dimension",
    ),
    "a state of one row in a loop of nodes": (
        behind_small(time_major(constant_state, functional=False), made.dense(5)),
        "its node 'while/lstm/concat' (ConcatV2) cannot take 5 rows: ConcatOp : Dimension",
    ),
    "a state of one row in a loop of functions": (
        behind_small(time_major(constant_state, functional=True), made.dense(5)),
        "its node 'lstm/concat' cannot take 5 rows: ConcatOp : Dimension",
    ),
    "a mean of all rows": (
        behind_small(
            part_of("reduce_mean", 0, name="mean"), part_of("expand_dims", 0), made.reshaped(1, 128)
        ),
        "its node 'mean' (Mean) mixes the rows of a batch",
    ),
    "moments of all rows": (
        behind_small(
            lambda tf, rows: rows - tf.nn.moments(rows, [0, 1, 2], name="bn")[0],
            made.reshaped(1, 128),
        ),
        "its node 'bn/mean' (Mean) mixes the rows of a batch",
    ),
    "batch normalisation in training": (
        behind_small(training_mode, made.reshaped(1, 128), made.dense(5)),
        "its node 'bn/FusedBatchNormV3' (FusedBatchNormV3) mixes the rows of a batch",
    ),
    "a mean in front of what fails by it": (
        behind_small(
            made.reshaped(1, 128),
            lambda tf, rows: tf.concat([rows, tf.reduce_mean(rows, 0, True, name="mean")], 1),
        ),
        "its node 'mean' (Mean) mixes the rows of a batch",
    ),
    "a mean that the scores hide": (
        behind_small(
            made.reshaped(1, 128),
            lambda tf, rows: rows - tf.reduce_mean(rows, 0, name="mean"),
            part_of("multiply", 1e-7),
            made.softmax,
        ),
        "its node 'mean' (Mean) mixes the rows of a batch",
    ),
    "a mean far from both ends": (
        behind_small(
            *[part_of("multiply", 1.01)] * 40,
            lambda tf, rows: rows + tf.reduce_mean(rows, 0, name="mean"),
            *[part_of("multiply", 1.01)] * 40,
            made.reshaped(1, 128),
        ),
        "its node 'mean' (Mean) mixes the rows of a batch",
    ),
    "values that decide on shapes": (
        behind_small(lambda tf, rows: tf.boolean_mask(rows, rows > 0.1), part_of("reduce_mean")),
        "its node 'boolean_mask/Squeeze' (Squeeze) cannot take 5 rows: Can not squeeze dim[1]",
    ),
    "a network that ignores its input": (
        small(made.decoded, made.resized(64), part_of("multiply", 0.0)),
        "it gives the same result for 5 different images",
    ),
    "a size that depends on the image": (
        chain(
            made.contents,
            made.decoded,
            shrunk_by_half,
            *made.SMALL,
            part_of("reduce_mean", [1, 2]),
        ),
        "no tensor in front of its node 'Conv2D' (Conv2D) has the same shape for every image",
    ),
    "no network": (
        chain(made.contents, made.decoded, part_of("reduce_mean", [0, 1, 2])),
        "no tensor behind the decoding has the same shape for every image",
    ),
    "an output of any size": (
        chain(made.contents, made.decoded, shrunk_by_half),
        "the shape of its output changes with the image: [1, 12, 16, 3] and [1, 64, 48, 3]",
    ),
    "a random crop": (
        small(made.decoded, cropped_at_random),
        "it is not deterministic: its node 'random_crop/random_uniform' (RandomUniformInt) draws",
    ),
    "no number": (
        behind_small(made.reshaped(1, 128), lambda tf, rows: tf.log(rows * 0 - 1)),
        "its output holds numbers that are not finite",
    ),
    "no image": (
        chain(made.contents, lambda tf, file: tf.io.decode_raw(file, tf.float32)[None]),
        f"{NO_FORMAT}: Input to DecodeRaw has length",
    ),
    "something else as well": (
        behind_small(lambda tf, rows: rows * tf.placeholder(tf.float32, (), name="keep_prob")),
        f"{NO_FORMAT}: You must feed a value for placeholder tensor 'keep_prob'",
    ),
    "several images": (
        chain(
            lambda tf, _: tf.placeholder(tf.string, (None,), name=made.CONTENTS),
            lambda _, files: files[0],
            made.decoded,
            made.resized(64),
            *SMALL_DENSE,
        ),
        f"{NO_FORMAT}: Cannot feed value of shape () for Tensor",
    ),
    "an output that does not depend on the input": (
        chain(made.contents, lambda tf, _: tf.constant([[1.0, 2.0]])),
        "its output does not depend on its input",
    ),
}


@pytest.mark.parametrize(("build", "reason"), list(ALONE.values()), ids=list(ALONE))
def test_a_graph_that_cannot_be_batched_names_the_node_that_is_the_obstacle(
    build: Build, reason: str
) -> None:
    """In one line."""
    alone = make_batched(graph_def(build), f"{made.CONTENTS}:0", f"{SCORES}:0", probe_images())
    assert isinstance(alone, NotBatchable)
    (line,) = alone.reason.splitlines()
    assert line.startswith(reason)


@pytest.mark.parametrize("runs", [7, 10])
def test_a_graph_that_fails_in_some_runs_is_not_batched(runs: int) -> None:
    """Whichever run failed."""
    left = runs

    def tired(rows: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("no more")
        return rows

    def part(tf: ModuleType, rows: Any) -> Any:
        again = tf.numpy_function(tired, [rows], tf.float32)
        again.set_shape(rows.shape)
        return again

    definition = graph_def(small(made.decoded, made.resized(64), part))
    result = make_batched(definition, f"{made.CONTENTS}:0", f"{SCORES}:0", probe_images())
    assert isinstance(result, NotBatchable)
    assert result.reason == "ValueError: no more"


def test_a_graph_is_cut_at_its_smallest_row() -> None:
    """Of four tensors behind the resize that of bytes, and the first of two equal ones."""

    def rounded(tf: ModuleType, images: Any) -> Any:
        return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8, name="bytes")

    def again(tf: ModuleType, images: Any) -> Any:
        return tf.cast(tf.identity(images), tf.float32)

    definition = graph_def(small(made.decoded, made.resized(64), rounded, again))
    batched = freed(definition, made.CONTENTS, probe_images())
    assert (batched.cut, batched.dtype) == ("bytes:0", np.dtype(np.uint8))


def test_constants_are_not_changed() -> None:
    """A shape may be shared with weights; each changed node gets a constant of its own."""

    def shared(tf: ModuleType, rows: Any) -> Any:
        sizes = tf.constant([1, 128], name="sizes")
        return tf.reshape(rows, sizes) * tf.reshape(made.weights(128), sizes)

    definition = graph_def(behind_small(shared))
    batched = freed(definition, made.CONTENTS, probe_images())
    constants = {node.name: node for node in definition.node if node.op == "Const"}
    kept = [node for node in batched.suffix.node if node.name in constants]
    assert "sizes" in {node.name for node in kept}
    assert all(node == constants[node.name] for node in kept)


def test_shapes_stored_in_the_file_are_removed() -> None:
    """They state one row, and TensorFlow would rely on them."""
    build = ENCODED["retrained"][0]
    batched = freed(graph_def(build, add_shapes=True), made.CONTENTS, probe_images())
    assert together(batched, np.zeros((3, *batched.row))).shape == (3, 5)


def test_a_graph_of_the_first_tensorflow_keeps_its_version() -> None:
    """Its batch normalisation was removed, but still runs for graphs of that version."""

    def normalised(tf: ModuleType, rows: Any) -> Any:
        tf.constant([0.5] * int(rows.shape[-1]), name="statistics")
        return tf.identity(rows, name="norm")

    source = (made.constant_contents, made.decoded, made.resized())
    layers = (*made.RETRAINED[:3], normalised, *made.RETRAINED[3:])
    definition = graph_def(chain(*source, *layers))
    definition.versions.producer = 8
    for node in definition.node:
        for since in ("explicit_paddings", "dilations"):
            node.attr.pop(since, None)
        if node.name == "norm":
            node.op = "BatchNormWithGlobalNormalization"
            node.input.extend(["statistics"] * 4)
            node.attr["variance_epsilon"].f = 0.001
            node.attr["scale_after_normalization"].b = True
    batched = freed(definition, made.CONTENTS, probe_images())
    assert batched.suffix.versions.producer == 8


def test_probe_images_have_many_sizes_and_are_the_same_each_time() -> None:
    """Each format holds the same images."""
    probes = probe_images()
    assert probes == probe_images()
    sizes = {kind: [Image.open(BytesIO(each)).size for each in probes[kind]] for kind in probes}
    assert sizes["JPEG"] == sizes["PNG"]
    assert len(set(sizes["PNG"])) == len(sizes["PNG"]) >= 5


def test_a_graph_that_takes_no_jpeg_is_tried_with_png() -> None:
    """The result states which format it took."""
    definition = graph_def(small(nothing_but_png, made.decoded, made.resized(64)))
    assert freed(definition, made.CONTENTS, probe_images()).probe_format == "PNG"
