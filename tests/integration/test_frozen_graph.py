"""Loading frozen graphs with TensorFlow itself: what is served, and what is refused."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.backends.tensorflow.files.graph_file import read_frozen_graph
from model.repository.model_toml import ModelFacts
from tests.integration.graphs import (
    SCORES,
    Build,
    Graphs,
    applied,
    constant_scores,
    image_input,
    noise,
    placeholder,
    together,
)
from tests.integration.scalar_graphs import (
    CONTENTS,
    any_decoded,
    chain,
    constant_contents,
    contents,
    decoded,
    png_decoded,
)


@pytest.fixture
def graphs(tmp_path: Path) -> Iterator[Graphs]:
    """Graphs that are closed after the test."""
    with closing(Graphs(tmp_path)) as graphs:
        yield graphs


# --- inputs


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float32", 1e-5), ("float64", 1e-5), ("float16", 1e-2), ("bfloat16", 1e-1)],
)
def test_a_float_input_gets_pixels_less_the_mean_over_the_deviation(
    graphs: Graphs, dtype: str, tolerance: float
) -> None:
    """As numpy computes it; the image itself is fed as uint8."""
    loaded = graphs.load(graphs.write(image_input(dtype)), mean=(127.5,) * 3, scale=(1 / 64,) * 3)
    assert (loaded.spec.dtype, loaded.spec.shape) == (np.dtype(np.uint8), (None, 4, 5, 3))
    pixels = noise(6)
    scores = loaded.run(pixels)
    expected = ((pixels.astype(np.float64) - 127.5) / 64.0).mean(axis=(1, 2))
    np.testing.assert_allclose(scores, expected, atol=tolerance)


def test_a_batch_of_one_in_the_graphs_input_is_opened(graphs: Graphs) -> None:
    """It then takes any number of rows, and the log states the largest difference."""
    loaded = graphs.load(graphs.write(image_input(shape=(1, 4, 5, 3))))
    assert loaded.spec.shape == (None, 4, 5, 3)
    assert loaded.signature.batched
    pixels = noise(7)
    np.testing.assert_allclose(loaded.run(pixels), pixels.mean(axis=(1, 2)) / 255, rtol=1e-5)
    assert "the graph now takes more than one row; largest difference" in graphs.lines[1]


def test_a_graph_with_a_batch_of_one_inside_is_opened_too(graphs: Graphs) -> None:
    """Though its input has an open batch axis."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.uint8, (None, 4, 5, 3), name="input")
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])
        tf.reshape(means, (1, 3), name=SCORES)

    pixels = noise(5)
    loaded = graphs.load(graphs.write(build))
    np.testing.assert_allclose(loaded.run(pixels), pixels.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("measure", ["reduce_max", "reduce_min", "reduce_mean"])
def test_a_graph_that_measures_its_whole_input_runs_one_row_at_a_time(
    graphs: Graphs, measure: str
) -> None:
    """The probes differ in their darkest level, brightest level and contrast."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.float32, (1, 64, 64, 3), name="input")
        level = getattr(tf, measure)(images, name="level")
        tf.reduce_mean(images / (level + 1.0), axis=[1, 2], name=SCORES)

    loaded = graphs.load(graphs.write(build))
    assert "its node 'level'" in loaded.signature.alone
    assert loaded.signature.alone.endswith("mixes the rows of a batch")


def test_a_graph_whose_batch_cannot_be_opened_runs_one_row_at_a_time(graphs: Graphs) -> None:
    """The signature and the log name the node that is the obstacle."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.float32, (1, 4, 5, 3), name="input")
        means = tf.reduce_mean(images, axis=[1, 2])
        tf.subtract(means, tf.reduce_mean(means, axis=0, keepdims=True, name="mixing"), name="out")
        tf.add(means, tf.get_default_graph().get_tensor_by_name("out:0"), name=SCORES)

    loaded = graphs.load(graphs.write(build))
    assert "its node 'mixing' (Mean) mixes the rows" in loaded.signature.alone
    assert loaded.spec.shape == (1, 4, 5, 3)
    pixels = noise(1)
    np.testing.assert_allclose(loaded.run(pixels), pixels.mean(axis=(1, 2)) / 255, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(None, None, None, 3), (None, None, 5, None), None], ids=["sizes", "some", "rank"]
)
def test_sizes_that_the_graph_leaves_open_are_given(graphs: Graphs, shape: object) -> None:
    """They are fixed afterwards."""
    loaded = graphs.load(graphs.write(image_input(shape=shape)), height=4, width=5)
    assert loaded.spec.shape == (None, 4, 5, 3)
    pixels = noise(2)
    scores = loaded.run(pixels)
    np.testing.assert_allclose(scores, pixels.mean(axis=(1, 2)) / 255, rtol=1e-5)


def test_any_tensor_may_be_the_input(graphs: Graphs) -> None:
    """As in graphs that decode and scale their one JPEG before a tensor that takes any batch."""

    def build(tf: ModuleType) -> None:
        decoded = tf.image.decode_jpeg(tf.placeholder(tf.string, name="contents"), channels=3)
        resized = tf.image.resize_bilinear(tf.cast(decoded[None], tf.float32), (4, 5))
        scaled = tf.multiply(resized, 2, name="Mul")
        tf.reduce_mean(tf.placeholder_with_default(scaled, (None, 4, 5, 3)), [1, 2], name=SCORES)

    path = graphs.write(build)
    pixels = noise(3)
    scores = graphs.load(path, tensors=("PlaceholderWithDefault:0", None), scale=(1.0,) * 3).run(
        pixels
    )
    np.testing.assert_allclose(scores, pixels.mean(axis=(1, 2)), rtol=1e-5)


def test_names_of_the_graph_never_clash_with_ours(graphs: Graphs) -> None:
    """Many graphs have nodes named cast, subtract and divide."""

    def build(tf: ModuleType) -> None:
        images = tf.placeholder(tf.float32, (None, 4, 5, 3), name="tensorferry_images")
        cast = tf.cast(images, tf.float64, name="Cast")
        half = tf.divide(tf.subtract(cast, 1, name="sub"), 2, name="truediv")
        tf.cast(tf.reduce_mean(half, [1, 2]), tf.float32, name="Cast_1")

    pixels = noise(3)
    scores = graphs.load(graphs.write(build), tensors=(None, "Cast_1"), scale=(1.0,) * 3).run(
        pixels
    )
    np.testing.assert_allclose(scores, (pixels.mean(axis=(1, 2)) - 1) / 2, rtol=1e-5)


# --- the likely input and output


def renamed(build: Build, to: str) -> Build:
    """Return the graph with its scores under another name, too."""
    return together(build, applied("identity", SCORES, to=to))


def constant_placeholder_with_default(tf: ModuleType) -> None:
    """Add a placeholder with a default."""
    tf.placeholder_with_default(1.0, (), name="keep_prob")


def guarded(tf: ModuleType) -> None:
    """Add an assertion, and an end with control edges from it and from a node without outputs."""
    scores = tf.get_default_graph().get_tensor_by_name("softmax:0")
    finite = tf.reduce_all(tf.is_finite(scores))
    checked = tf.raw_ops.Assert(condition=finite, data=[scores])
    with tf.control_dependencies([checked, tf.no_op()]):
        tf.identity(scores, name="out")
    tf.raw_ops.Assert(condition=finite, data=[scores])


#: A graph without the name that retraining gives its output.
SOFTMAX = image_input(scores="softmax")

#: A graph, and its likely input and output.
FOUND: dict[str, tuple[Build, str, str]] = {
    "a placeholder and the retrained output": (image_input(), "input", SCORES),
    "the only placeholder beside one with a default": (
        together(image_input(), constant_placeholder_with_default),
        "input",
        SCORES,
    ),
    "the retrained output though something hangs on it": (
        renamed(image_input(), "copy"),
        "input",
        SCORES,
    ),
    "the only end": (SOFTMAX, "input", "softmax"),
    "the only end beside assertions": (together(SOFTMAX, guarded), "input", "out"),
    "a scalar string": (chain(contents, decoded), CONTENTS, SCORES),
    "what a constant image is decoded from": (
        chain(constant_contents, decoded),
        CONTENTS,
        SCORES,
    ),
    "what a constant PNG is decoded from": (
        chain(constant_contents, png_decoded),
        CONTENTS,
        SCORES,
    ),
    "what anything is decoded from": (chain(constant_contents, any_decoded), CONTENTS, SCORES),
}


@pytest.mark.parametrize(("build", "taken", "given"), list(FOUND.values()), ids=list(FOUND))
def test_the_likely_input_and_output_are_served(
    tmp_path: Path, build: Build, taken: str, given: str
) -> None:
    """By the name of the node, and its first output."""
    frozen = read_frozen_graph(Graphs(tmp_path).write(build), ModelFacts())
    assert (frozen.input, frozen.output) == (f"{taken}:0", f"{given}:0")
    assert (frozen.spec.name, frozen.output_spec.name) == (taken, given)


def test_what_is_named_is_served(tmp_path: Path) -> None:
    """Also where others are likelier; with the number of the output or without."""

    def build(tf: ModuleType) -> None:
        image_input()(tf)
        tf.split(tf.get_default_graph().get_tensor_by_name("input:0"), [1, 2], axis=3, name="parts")

    path = Graphs(tmp_path).write(build)
    for name in ("parts:1", "parts:0", "parts"):
        frozen = read_frozen_graph(path, ModelFacts(input="input:0", output=name))
        assert frozen.output == (name if ":" in name else "parts:0")
        assert frozen.output_spec.shape == (None, 4, 5, 2 if name == "parts:1" else 1)


@pytest.mark.parametrize(
    ("dtype", "shape", "scalar"),
    [
        ("string", (), True),
        ("string", None, True),
        ("string", (None,), False),
        ("string", (1,), False),
        ("float32", (), False),
        ("float32", None, False),
    ],
)
def test_a_string_of_no_shape_is_one_image_at_most(
    tmp_path: Path, dtype: str, shape: object, scalar: bool
) -> None:
    """Some files do not state that it is only one."""
    build = together(placeholder("x", dtype, shape), applied("identity", "x", to=SCORES))
    path = Graphs(tmp_path).write(build)
    assert read_frozen_graph(path, ModelFacts()).scalar_string == scalar


# --- what is refused


KEEP_PROB = placeholder("keep_prob", "float32", ())
SUM = applied("add", SCORES, "x", to="out")

#: A graph, options (or the number of labels), and the text of the refusal.
REFUSED: dict[str, tuple[Build, dict[str, Any], str]] = {
    "two decoders": (
        together(
            chain(constant_contents, decoded),
            lambda tf: tf.image.decode_png(tf.constant(b"", name="mask")),
        ),
        {},
        "--input-layer is needed: the graph's placeholders are none",
    ),
    "ten ends": (
        together(
            SOFTMAX,
            *(applied("identity", "softmax", to=f"end{number}") for number in range(10)),
        ),
        {},
        "--output-layer is needed: the graph's possible outputs are "
        + ", ".join(f"end{number}" for number in range(8)),
    ),
    "no end": (
        placeholder("x", "float32", (None, 4)),
        {},
        "--output-layer is needed: the graph's possible outputs are none",
    ),
    "a name that is a control edge": (
        image_input(),
        {"tensors": ("^input", None)},
        "no tensor '^input'; similar names: input, final_result",
    ),
    "an output behind another colon": (
        image_input(),
        {"tensors": (None, "final_result:0:0")},
        "'final_result:0:0' is not a tensor name: expected NAME or NAME:0",
    ),
    "another signature": (
        image_input(),
        {"signature": "predict"},
        "no signature 'predict': a frozen graph has only 'serving_default'",
    ),
    "several placeholders": (
        together(image_input(), placeholder("x", "float32", (None, 3)), SUM),
        {"tensors": (None, "out")},
        "--input-layer is needed: the graph's placeholders are input, x",
    ),
    "two inputs": (
        together(image_input(), placeholder("x", "float32", (None, 3)), SUM),
        {"tensors": ("input", "out")},
        "out:0 also needs 'x' (float32): a frozen graph is served with one input; export a Saved",
    ),
    "no placeholder": (
        constant_scores,
        {},
        "--input-layer is needed: the graph's placeholders are none",
    ),
    "no such input": (
        image_input(),
        {"tensors": ("imput", None)},
        "no tensor 'imput'; similar names: input",
    ),
    "no such output": (
        image_input(),
        {"tensors": (None, "final_reslut:0")},
        "no tensor 'final_reslut:0'; similar names: final_result",
    ),
    "no such output of the input": (
        image_input(),
        {"tensors": ("input:1", None)},
        "output 1 of node 'input', which has 1 output",
    ),
    "no such output of the output": (
        image_input(),
        {"tensors": (None, "final_result:3")},
        "output 3 of node 'final_result', which has 1 output",
    ),
    "an operation without outputs": (
        together(image_input(), applied("no_op", to="nothing")),
        {"tensors": (None, "nothing")},
        "output 0 of node 'nothing', which has 0 output",
    ),
    "integers": (
        image_input("int32"),
        {},
        "labels are for images, but 'input' is int32[?, 4, 5, 3]: expected [rows, height, ",
    ),
    "one colour": (
        image_input(shape=(None, 4, 5, 1)),
        {},
        "'final_result' gives [1, 1] for 1 row, but the number of labels is 3: expected [1, 3]",
    ),
    "four channels": (
        image_input(shape=(None, 4, 5, 4)),
        {},
        "labels are for images, but 'input' is float32[?, 4, 5, 4]: expected [rows, height, ",
    ),
    "no height": (
        image_input(shape=(None, None, 5, 3)),
        {"width": 5},
        "of a size that the model or --input-height and --input-width give",
    ),
    "another height": (
        image_input(),
        {"height": 8},
        "the height of images is given as 8, but input 'input' is float32[?, 4, 5, 3]",
    ),
    "an input without a value": (
        together(image_input(), KEEP_PROB, applied("multiply", SCORES, "keep_prob", to="out")),
        {"tensors": ("input", "out")},
        "out:0 also needs a value for 'keep_prob' (float32): give it with --feed keep_prob=1.0, or",
    ),
    "too few labels": (
        image_input(),
        {"classes": 2},
        "'final_result' gives [1, 3] for 1 row, but the number of labels is 2: expected [1, 2]",
    ),
    "one number for all": (
        together(image_input(), applied("reduce_mean", SCORES, to="mean")),
        {"tensors": (None, "mean")},
        "'mean' gives [] for 1 row, but the number of labels is 3: expected [1, 3]",
    ),
}


@pytest.mark.parametrize(("build", "given", "reason"), list(REFUSED.values()), ids=list(REFUSED))
def test_a_graph_that_cannot_be_served_is_refused_in_one_line(
    graphs: Graphs, build: Build, given: dict[str, Any], reason: str
) -> None:
    """The line states what to change."""
    assert reason in graphs.refusal(graphs.write(build), **given)


def variable(name: str, *, use_resource: bool) -> Build:
    """Return the part of a graph that was never frozen."""
    return lambda tf: tf.get_variable(name, (3,), use_resource=use_resource)


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize(
    ("names", "more"), [(["weights"], ""), (["weights", "bias", "scale"], ", and 2 more")]
)
def test_a_graph_that_is_not_frozen_is_refused(
    graphs: Graphs, names: list[str], more: str, *, use_resource: bool
) -> None:
    """Its variables have no values in the file."""
    variables = [variable(name, use_resource=use_resource) for name in names]
    path = graphs.write(together(image_input(), *variables))
    assert graphs.refusal(path) == f"{path}: not frozen: no value for the variable 'weights'{more}"


def test_a_graph_of_unknown_operations_is_refused(graphs: Graphs) -> None:
    """Such as an operation of a custom library."""
    import tensorflow.compat.v1 as tf

    path = graphs.write(image_input())
    definition = tf.GraphDef.FromString(path.read_bytes())
    definition.node.add(name="strange", op="MadeElsewhere", input=["input"])
    path.write_bytes(definition.SerializeToString())
    assert graphs.refusal(path).startswith(f"{path}: Op type not registered 'MadeElsewhere'")


def saved_model(graph_file: bytes) -> bytes:
    """Return a SavedModel of the same graph."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.graph_def.ParseFromString(graph_file)
    data: bytes = saved.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[: len(data) // 2], "not a frozen GraphDef, or cut short"),
        (lambda data: data[:-1], "not a frozen GraphDef, or cut short"),
        (lambda data: data * 99 + data[:-1], "not a frozen GraphDef, or cut short"),
        (lambda _: b"", "an empty file, not a frozen graph"),
        (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "a PNG image, not a frozen graph"),
        (lambda _: b"cat\ndog\n", "a file of text, not a frozen graph"),
        (lambda _: b'{"format": "layers-model"}', "JSON, not a frozen graph"),
        (lambda _: b"\x22\x02\x08\x16", "not a frozen GraphDef: it holds no nodes"),
        (saved_model, "the saved_model.pb of a SavedModel, not a frozen graph"),
    ],
    ids=[
        "half of it",
        "the last byte lost",
        "many nodes, the last byte lost",
        "empty",
        "an image",
        "labels",
        "JSON",
        "no nodes",
        "a SavedModel",
    ],
)
def test_a_file_that_holds_no_graph_is_refused(
    graphs: Graphs, spoil: Callable[[bytes], bytes], message: str
) -> None:
    """Cut short, or of another format, which the error names."""
    path = graphs.write(image_input())
    path.write_bytes(spoil(path.read_bytes()))
    assert graphs.refusal(path).startswith(f"{path}: {message}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, graphs: Graphs) -> None:
    """Absent, or no file."""
    absent = tmp_path / "absent.pb"
    assert graphs.refusal(absent) == f"{absent}: No such file or directory"
    assert graphs.refusal(tmp_path) == f"{tmp_path}: Is a directory"
