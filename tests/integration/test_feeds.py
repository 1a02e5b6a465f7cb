"""Constants for further placeholders: --feed, and [feeds] in model.toml."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.backend import LoadedModel
from model.errors import ModelError
from model.repository.model_kind import find_model
from model.repository.model_toml import ModelFacts
from tests.integration.graphs import Graphs, load_files
from tests.integration.saving import Ends, Write, save_functions, tf1, tf2

Load = Callable[..., LoadedModel]

SWITCHES: dict[str, bool | float] = {"keep_prob": 0.5, "phase_train": False, "steps": 2}
ROW = np.array([[1.0, 2.0, 3.0]], np.float32)


def switched(tf: ModuleType, rows: Any, keep_prob: Any, phase_train: Any, steps: Any) -> Any:
    """Compute with all of them."""
    kept = tf.where(tf.fill(tf.shape(rows), phase_train), rows * 100.0, rows * keep_prob)
    return kept + tf.cast(steps, tf.float32)


def placeholders(tf: Any) -> list[Any]:
    """Return the rows and the switches of a graph; no node uses the last."""
    tf.placeholder("float32", (), name="unused")
    return [
        tf.placeholder("float32", (None, 3), name="rows"),
        tf.placeholder("float32", (), name="keep_prob"),
        tf.placeholder("bool", (1,), name="phase_train")[0],
        tf.placeholder("int32", None, name="steps"),
    ]


def frozen(folder: Path) -> None:
    """Write a frozen graph."""
    folder.mkdir()
    Graphs(folder).write(
        lambda tf: tf.identity(switched(tf, *placeholders(tf)), name="final_result")
    )


def of_tensorflow_1(tf: Any) -> dict[str, Ends]:
    """Name the rows alone in the signature."""
    rows, *others = placeholders(tf)
    return {"serving_default": ({"rows": rows}, {"y": switched(tf, rows, *others)})}


def of_tensorflow_2(tf: Any, rows: Any, keep_prob: Any, phase_train: Any, steps: Any) -> Any:
    """Take them all as inputs, with names other than the graph's."""
    return {"y": switched(tf, rows, keep_prob, phase_train[0], steps)}


INPUTS = {
    "rows": ("float32", (None, 3)),
    "keep_prob": ("float32", ()),
    "phase_train": ("bool", (1,)),
    "steps": ("int32", ()),
}
MODELS: dict[str, Write] = {
    "frozen": frozen,
    "tf1": tf1(of_tensorflow_1),
    "tf2": tf2(of_tensorflow_2, **INPUTS),
}


@pytest.fixture
def load() -> Iterator[Load]:
    """Provide a function that loads a model with these values; models are closed after the test."""
    opened: list[LoadedModel] = []

    def loaded(path: Path, feeds: dict[str, bool | float]) -> LoadedModel:
        facts = ModelFacts(feeds=feeds)
        opened.append(load_files(find_model(path), facts))
        return opened[-1]

    yield loaded
    for each in opened:
        each.runner.close()


@pytest.mark.parametrize("write", MODELS.values(), ids=MODELS)
def test_a_placeholder_has_the_value_that_it_is_given(
    tmp_path: Path, load: Load, write: Write
) -> None:
    """In every run, a float, bool or integer; the rows are the only remaining input."""
    write(tmp_path / "model")
    for feeds, factor in ((SWITCHES, 0.5), ({**SWITCHES, "phase_train": True}, 100)):
        loaded = load(tmp_path / "model", feeds)
        (signature,) = loaded.runner.signatures
        assert [spec.name for spec in signature.inputs] == ["rows"]
        (got,) = loaded.runner.run(signature.feed({"rows": ROW}))
        np.testing.assert_allclose(got, ROW * factor + 2)


def test_all_signatures_with_an_input_of_one_name_get_its_value(tmp_path: Path, load: Load) -> None:
    """Each has a placeholder of its own in a SavedModel of TensorFlow 2."""

    def scaled(factor: float) -> tuple[Callable[..., Any], dict[str, Any]]:
        specs = {"rows": INPUTS["rows"], "keep_prob": INPUTS["keep_prob"]}
        return lambda rows, keep_prob: {"y": rows * keep_prob * factor}, specs

    save_functions(tmp_path / "model", {"serving_default": scaled(2.0), "other": scaled(4.0)})
    loaded = load(tmp_path / "model", {"keep_prob": 0.5})
    for signature, factor in zip(loaded.runner.signatures, (1, 2), strict=True):
        (got,) = loaded.runner.run(signature.feed({"rows": ROW}))
        np.testing.assert_allclose(got, ROW * factor)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "also needs a value for 'keep_prob' (float32), 'phase_train' (bool), 'steps' (int32)"),
        (
            {"keep_prob": 1},
            "'phase_train' (bool), 'steps' (int32): give it with --feed phase_train=false, or in",
        ),
        ({**SWITCHES, "keep": 1}, "--feed keep: the graph has no placeholder of this name; simi"),
        ({"keep_prob": True}, "--feed keep_prob: expected a float32 number, got true"),
        ({"phase_train": 1}, "--feed phase_train: expected true or false, got 1"),
        ({"steps": 1.5}, "--feed steps: expected a whole number, got 1.5"),
        ({"steps": 1e12}, "--feed steps: expected a whole number, got 1e+12"),
        ({"rows": 1}, "--feed rows: takes float32[?, 3], not a single value"),
    ],
)
def test_a_value_that_is_missing_or_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, load: Load, feeds: dict[str, bool | float], message: str
) -> None:
    """With the option that gives it."""
    frozen(tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "model", feeds)
    (line,) = str(caught.value).splitlines()
    assert message in line
