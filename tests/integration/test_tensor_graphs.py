"""Frozen graphs that take tensors other than images: their signatures, batched or alone."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
import pytest

from model.signature import Signature
from server.api.json_tensors import arrays_of, encode_outputs, parse_request
from server.api.samples import sample_request
from tests.integration.graphs import SCORES, Build, Graphs, Loaded, applied, placeholder, together

pytestmark = pytest.mark.full


@pytest.fixture
def graphs(tmp_path: Path) -> Iterator[Graphs]:
    """Graphs that are closed after the test."""
    with closing(Graphs(tmp_path)) as graphs:
        yield graphs


def of_input(dtype: str, shape: object, function: str) -> Build:
    """Return a graph that applies a *function* of TensorFlow to its only input."""
    return together(placeholder("x", dtype, shape), applied(function, "x", to=SCORES))


def weighted(shape: object = (None, 4), dtype: str = "float32") -> Build:
    """Return a graph that multiplies rows of four numbers by weights."""

    def build(tf: ModuleType) -> None:
        rows = tf.cast(tf.placeholder(dtype, shape, name="x"), tf.float32)
        tf.matmul(rows, tf.constant(np.arange(8, dtype=np.float32).reshape(4, 2)), name=SCORES)

    return build


def asked(loaded: Loaded, body: str) -> object:
    """Return the native dialect's answer to *body*."""
    name, inputs = parse_request(body.encode())
    signature = next(each for each in loaded.runner.signatures if name in (None, each.name))
    outputs = loaded.runner.run(signature.feed(arrays_of(signature, inputs)))
    return orjson.loads(encode_outputs(signature.outputs, outputs))["outputs"][SCORES]


def specs(signature: Signature) -> tuple[str, str]:
    """Return the specs of inputs and outputs as text."""
    ((taken,), (given,)) = (signature.inputs, signature.outputs)
    return str(taken), str(given)


def test_rows_of_numbers_share_a_run(graphs: Graphs) -> None:
    """With the graph's own dtype; an image is refused."""
    loaded = graphs.load(graphs.write(weighted()), classes=0)
    assert loaded.image_input is None
    assert loaded.signature.batched
    assert [each.name for each in loaded.runner.signatures] == ["serving_default"]
    assert specs(loaded.signature) == ("float32[?, 4]", "float32[?, 2]")
    body = '{"inputs": {"x": [[1, 0, 0, 0], [0, 0, 0.5, 1]]}}'
    assert asked(loaded, body) == [[0, 1], [8, 9.5]]
    assert graphs.lines == []


#: A graph, its inputs and outputs, and the answer to its sample.
SAMPLES: dict[str, tuple[Build, str, str, object]] = {
    "true or false out": (
        of_input("float32", (None, 2), "is_finite"), "float32[?, 2]", "bool[?, 2]", [[True, True]]
    ),
    "strings out": (
        of_input("int32", (None, 2), "as_string"), "int32[?, 2]", "string[?, 2]", [["0", "0"]]
    ),
    "a string a row": (
        of_input("string", (None,), "strings.length"), "string[?]", "int32[?]", [4]
    ),
    "half precision": (
        of_input("bfloat16", (None, 2), "exp"), "bfloat16[?, 2]", "bfloat16[?, 2]", [[1, 1]]
    ),
    "one number": (of_input("float32", (), "exp"), "float32[]", "float32[]", 1),
    "one string": (of_input("string", (), "strings.upper"), "string[]", "string[]", "TEXT"),
    "one answer for all rows": (
        of_input("float32", (None, 2), "reduce_sum"), "float32[?, 2]", "float32[]", 0
    ),
    "any numbers": (
        of_input("int32", None, "sign"), "int32 of any shape", "int32 of any shape", 0
    ),
    "an answer a number": (
        of_input("float32", (None, 2), "where"), "float32[?, 2]", "int64[?, 2]", []
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("build", "takes", "gives", "answered"), list(SAMPLES.values()), ids=list(SAMPLES)
)
def test_a_graph_of_any_tensors_is_served(
    graphs: Graphs, build: Build, takes: str, gives: str, answered: object
) -> None:
    """It answers its own sample, whether its rows share a run or not."""
    loaded = graphs.load(graphs.write(build), classes=0)
    assert loaded.image_input is None
    assert specs(loaded.signature) == (takes, gives)
    assert (
        asked(loaded, sample_request(loaded.samples["serving_default"], "serving_default"))
        == answered
    )


#: A graph, and the reason why its requests cannot share a run.
ALONE: dict[str, tuple[Build, str]] = {
    "an answer a number": (
        of_input("float32", (None, 2), "where"),
        "output 'final_result' is [6, 2] for 3 rows: expected one output row for each input row",
    ),
    "a row for two": (
        together(
            placeholder("x", "float32", (None, 4)),
            lambda tf: tf.reshape(
                tf.get_default_graph().get_tensor_by_name("x:0"), (-1, 2), name=SCORES
            ),
        ),
        "output 'final_result' is [6, 2] for 3 rows: expected one output row for each input row",
    ),
    "any answer": (
        together(
            placeholder("x", "float32", (None, 4)),
            placeholder("unused", "int32", None),
            lambda tf: tf.reduce_sum(
                tf.get_default_graph().get_tensor_by_name("x:0"),
                axis=tf.placeholder_with_default([0, 1], None),
                name=SCORES,
            ),
        ),
        "output 'final_result' is [] for 3 rows: expected one output row for each input row",
    ),
}


@pytest.mark.parametrize(("build", "reason"), list(ALONE.values()), ids=list(ALONE))
def test_a_graph_without_an_output_row_for_each_row_runs_alone(
    graphs: Graphs, build: Build, reason: str
) -> None:
    """Otherwise every answer would fail."""
    loaded = graphs.load(graphs.write(build), classes=0, tensors=("x", None))
    assert loaded.signature.alone == reason
    assert not loaded.signature.batched


@pytest.mark.parametrize("shape", [(None, None), None])
def test_zeros_that_do_not_fit_are_no_reason_to_refuse(graphs: Graphs, shape: object) -> None:
    """Where the graph leaves sizes open, the client knows them."""
    loaded = graphs.load(graphs.write(weighted(shape)), classes=0)
    assert asked(loaded, '{"inputs": {"x": [[1, 0, 0, 0]]}}') == [[0, 1]]
    assert loaded.signature.batched == (shape is not None)


def test_a_graph_that_cannot_run_any_row_is_refused(graphs: Graphs) -> None:
    """All its sizes are fixed, so no other row would run."""

    def build(tf: ModuleType) -> None:
        x = tf.placeholder("float32", (None, 4), name="x")
        tf.debugging.check_numerics(x / tf.zeros([4]), "by zero", name="out")

    line = graphs.refusal(graphs.write(build), classes=0, tensors=("x", "out"))
    assert "a run of one row failed: by zero" in line


@pytest.mark.parametrize("shape", [(None, 4), None, (None, None, None, 3)])
def test_labels_are_refused_where_no_image_can_be_taken(graphs: Graphs, shape: object) -> None:
    """No setting gives the size of an image."""
    build = of_input("float32", shape, "exp")
    line = graphs.refusal(graphs.write(build), classes=3)
    assert "labels are for images, but 'x' is float32" in line
    assert "--input-height and --input-width" in line


def test_a_size_makes_images_of_floats_of_any_shape(graphs: Graphs) -> None:
    """JSON may still carry other numbers of the same size."""
    loaded = graphs.load(
        graphs.write(of_input("float32", None, "exp")), classes=0, height=1, width=2
    )
    assert loaded.image_input is not None
    assert [specs(each)[0] for each in loaded.runner.signatures] == [
        "float32[?, ?, ?, 3]",
        "uint8[?, 1, 2, 3]",
    ]


def test_a_graph_has_only_one_signature(graphs: Graphs) -> None:
    """Not even that of its pixels can be named."""
    path, name = graphs.write(weighted()), "serving_default:pixels"
    assert graphs.refusal(path, classes=0, signature=name) == (
        f"{path}: no signature {name!r}: a frozen graph has only 'serving_default'"
    )
    assert graphs.load(path, classes=0, signature="serving_default").signature.batched
