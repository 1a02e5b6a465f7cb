"""Graphs that cannot be batched, and what a batched graph keeps: batched_graph.py."""

from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.backends.tensorflow.batched_graph import (
    NotBatchable,
    make_batched,
)
from model.images.probe_images import probe_images
from tests.integration import scalar_graphs as made
from tests.integration.batched_graphs import (
    ENCODED,
    SMALL_DENSE,
    behind_small,
    constant_state,
    freed,
    graph_def,
    small,
    time_major,
    together,
)
from tests.integration.graphs import SCORES, Build
from tests.integration.scalar_graphs import chain, part_of

pytestmark = pytest.mark.full


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
    "batch normalisation in training": (
        behind_small(training_mode, made.reshaped(1, 128), made.dense(5)),
        "its node 'bn/FusedBatchNormV3' (FusedBatchNormV3) mixes the rows of a batch",
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
