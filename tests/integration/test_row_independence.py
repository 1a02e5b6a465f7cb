"""SavedModels of shape [?]: whether the result of a row depends on other rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.repository.model_kind import ModelFiles, ModelKind
from model.signature import Signature
from tests.integration.graphs import load_files
from tests.integration.saving import Tensors, save_functions

#: Computes an output from the input, [rows, 3], with the TensorFlow module that it is given.
Make = Callable[[Any, Any], Any]


def loaded_signatures(folder: Path, makes: Mapping[str, tuple[Make, str]]) -> list[Signature]:
    """Return the signatures of a SavedModel, with one for each of *makes*, as they are served."""
    import tensorflow as tf

    def function(make: Make) -> Callable[..., Tensors]:
        return lambda x: {"y": make(tf, x)}

    functions = {
        f"n{number}": (function(make), {"x": (dtype, (None, 3))})
        for number, (make, dtype) in enumerate(makes.values())
    }
    save_functions(folder, functions)
    files = ModelFiles(ModelKind.SAVED_MODEL, folder, folder)
    loaded = load_files(files)
    loaded.runner.close()
    return list(loaded.signatures)


MIXING: dict[str, tuple[Make, str]] = {
    "the mean of the batch": (lambda tf, x: x - tf.reduce_mean(x, axis=0), "float32"),
    "the largest of the batch": (lambda tf, x: x / tf.reduce_max(tf.abs(x)), "float32"),
    "a sorted batch": (lambda tf, x: tf.sort(x, axis=0), "float32"),
    "a batch sorted down": (lambda tf, x: tf.sort(x, axis=0, direction="DESCENDING"), "float32"),
    "shares of the batch": (lambda tf, x: tf.nn.softmax(x, axis=0), "float32"),
    "a batch upside down": (lambda tf, x: tf.reverse(x, [0]), "float32"),
    "sums so far": (lambda tf, x: tf.cumsum(x), "int32"),
    "the others' texts": (lambda tf, x: tf.roll(x, 1, axis=0), "string"),
    "pixels over the brightest": (
        lambda tf, x: tf.cast(x, tf.float32) / tf.cast(tf.reduce_max(x), tf.float32),
        "uint8",
    ),
    "half of the batch's mean": (lambda tf, x: x - tf.reduce_mean(x, axis=0) / 2, "float16"),
}


def test_a_model_that_mixes_the_rows_of_a_batch_runs_alone(tmp_path: Path) -> None:
    """Otherwise one client's numbers would change another's answer."""
    reasons = {each.alone for each in loaded_signatures(tmp_path / "model", MIXING)}
    assert reasons == {"output 'y' mixes the rows of a batch"}


def above_100(tf: Any, x: Any) -> Any:
    """Return *x*, which trial rows are not."""
    with tf.control_dependencies([tf.debugging.assert_greater(x, 100.0)]):
        return tf.identity(x)


SOUND: dict[str, tuple[Make, str]] = {
    "each row's own mean": (lambda tf, x: x - tf.reduce_mean(x, axis=1, keepdims=True), "float32"),
    "numbers that are none": (lambda tf, x: tf.math.log(x), "float32"),
    "tiny numbers": (lambda tf, x: tf.nn.softmax(x) * 1e-9, "float32"),
    "nothing but zeros": (lambda tf, x: tf.zeros_like(x), "float64"),
    "half precision": (lambda tf, x: tf.tanh(x), "bfloat16"),
    "texts": (lambda tf, x: tf.strings.upper(x), "string"),
    "whole numbers": (lambda tf, x: tf.multiply(x, 3), "int64"),
    "flags": (lambda tf, x: tf.logical_not(x), "bool"),
    "what draws lots": (lambda tf, x: x + tf.random.normal(tf.shape(x)), "float32"),
    "what cannot run the trial rows": (above_100, "float32"),
}


def test_a_model_with_independent_rows_is_batched(tmp_path: Path) -> None:
    """Also a model with random outputs, which cannot be compared."""
    signatures = loaded_signatures(tmp_path / "model", SOUND)
    alone = dict(zip(SOUND, (each.alone for each in signatures), strict=True))
    assert alone == dict.fromkeys(SOUND, "")
