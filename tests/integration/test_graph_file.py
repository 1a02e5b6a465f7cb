"""Which tensors of a frozen graph are served by default: TensorFlow's graph_file.py."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from model.backends.tensorflow.files.graph_file import FrozenGraph, read_frozen_graph
from model.errors import ModelError
from model.repository.model_toml import ModelFacts
from tests.integration.graphs import (
    SCORES,
    Build,
    Graphs,
    applied,
    constant_scores,
    image_input,
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


def read(folder: Path, build: Build, **facts: Any) -> FrozenGraph:
    """Return the graph, read from a file."""
    return read_frozen_graph(Graphs(folder).write(build), ModelFacts(**facts))


def refusal(folder: Path, build: Build, **facts: Any) -> str:
    """Return the error of reading it, without the path."""
    with pytest.raises(ModelError) as caught:
        read(folder, build, **facts)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{folder / 'graph.pb'}: ")
    return line.removeprefix(f"{folder / 'graph.pb'}: ")


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
    frozen = read(tmp_path, build)
    assert (frozen.input, frozen.output) == (f"{taken}:0", f"{given}:0")
    assert (frozen.spec.name, frozen.output_spec.name) == (taken, given)


def test_what_is_named_is_served(tmp_path: Path) -> None:
    """Also where others are likelier; with the number of the output or without."""

    def build(tf: ModuleType) -> None:
        image_input()(tf)
        tf.split(tf.get_default_graph().get_tensor_by_name("input:0"), [1, 2], axis=3, name="parts")

    for name in ("parts:1", "parts:0", "parts"):
        frozen = read(tmp_path, build, input="input:0", output=name)
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
    assert read(tmp_path, build).scalar_string == scalar


REFUSED: dict[str, tuple[Build, dict[str, str], str]] = {
    "two decoders": (
        together(
            chain(constant_contents, decoded),
            lambda tf: tf.image.decode_png(tf.constant(b"", name="mask")),
        ),
        {},
        "--input-layer is needed: the graph's placeholders are none",
    ),
    "several ends": (
        together(
            SOFTMAX,
            applied("identity", "softmax", to="a"),
            applied("identity", "softmax", to="b"),
        ),
        {},
        "--output-layer is needed: the graph's possible outputs are a, b",
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
    "nothing to feed": (
        constant_scores,
        {},
        "--input-layer is needed: the graph's placeholders are none",
    ),
    "a name that is a control edge": (
        image_input(),
        {"input": "^input"},
        "no tensor '^input'; similar names: input, final_result",
    ),
    "an output behind another colon": (
        image_input(),
        {"output": "final_result:0:0"},
        "'final_result:0:0' is not a tensor name: expected NAME or NAME:0",
    ),
    "another signature": (
        image_input(),
        {"signature": "predict"},
        "no signature 'predict': a frozen graph has only 'serving_default'",
    ),
}


@pytest.mark.parametrize(("build", "facts", "message"), list(REFUSED.values()), ids=list(REFUSED))
def test_an_input_or_output_that_is_not_obvious_has_to_be_named(
    tmp_path: Path, build: Build, facts: dict[str, str], message: str
) -> None:
    """The line lists the candidates, up to eight."""
    assert refusal(tmp_path, build, **facts) == message
