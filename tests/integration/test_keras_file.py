"""Keras files, written by Keras itself: their outputs as SavedModels, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py  # type: ignore[import-untyped]  # it ships no type information
import numpy as np
import pytest

from model.backends.tensorflow.files.keras_file import exported_saved_model
from tests.integration.keras_models import (
    KERAS_MODELS,
    KERAS_WARNINGS,
    SUMS,
    Build,
    answer,
    dense,
    edit_config,
    refusal,
    sequential,
    with_lambda,
    written,
)
from tests.integration.saved_models import ROWS, strings

pytestmark = [pytest.mark.full, *KERAS_WARNINGS]


def built_later(keras: Any) -> Any:
    """A stack that is built with its input after its layers."""
    model = keras.Sequential([dense(keras, "scores")])
    model.build((None, 3))
    return model


def of_words(keras: Any) -> Any:
    """A vocabulary that the file holds."""
    word = keras.Input((), dtype="string", name="word")
    number = keras.layers.StringLookup(vocabulary=["ferry", "river"], name="number")
    return keras.Model(word, number(word))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("sequential", ".keras"),
        ("sequential", ".h5"),
        ("several", ".keras"),
        ("keyed", ".h5"),
        ("images", ".h5"),
    ],
)
def test_a_keras_file_answers(tmp_path: Path, name: str, suffix: str) -> None:
    """By the names of its layers, or its own keys, any number of rows at a time."""
    build, feed, expected = KERAS_MODELS[name]
    got = answer(written(build, tmp_path / f"model{suffix}"), feed)
    assert list(got) == list(expected)
    for key, array in expected.items():
        np.testing.assert_allclose(got[key], array, rtol=1e-5)


def test_an_input_without_a_name_gets_the_name_that_keras_gives(tmp_path: Path) -> None:
    """The name of the input layer that Keras adds."""
    import tensorflow as tf

    path = written(built_later, tmp_path / "model.keras")
    (layer,) = tf.keras.models.load_model(path).inputs
    (got,) = answer(path, {layer._keras_history.operation.name: ROWS}).values()
    np.testing.assert_allclose(got, SUMS)


def of_an_application(keras: Any) -> Any:
    """A layer of `keras.applications`, outside the public modules."""
    from keras.src.applications.convnext import LayerScale

    return keras.Sequential([keras.Input((3,), name="row"), LayerScale(2.0, 3, name="y")])


def test_layers_of_keras_applications_are_allowed(tmp_path: Path) -> None:
    """Such as those of ConvNeXt."""
    path = written(of_an_application, tmp_path / "model.keras")
    np.testing.assert_allclose(answer(path, {"row": ROWS})["y"], ROWS * 2)


def test_a_vocabulary_is_exported(tmp_path: Path) -> None:
    """The words are in the file."""
    got = answer(written(of_words, tmp_path / "m.keras"), {"word": strings("river", "x", "ferry")})
    assert got["number"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(("suffix", "name"), [(".keras", "model.h5.bak"), (".h5", "model.KERAS")])
def test_a_keras_file_may_be_called_anything(tmp_path: Path, suffix: str, name: str) -> None:
    """Its first bytes decide its format; Keras itself uses the name."""
    path = written(sequential, tmp_path / f"model{suffix}").rename(tmp_path / name)
    with exported_saved_model(path) as folder:
        assert (folder / "saved_model.pb").is_file()


# --- what is refused


def with_function(keras: Any) -> Any:
    """A layer that applies a function that it names."""
    return keras.Sequential([keras.Input((3,)), keras.layers.Lambda(keras.ops.abs, name="sly")])


def with_code_within(keras: Any) -> Any:
    """Code as the activation of one of Keras's own layers."""
    layer = keras.layers.Dense(2, name="sly", activation=lambda x: x)
    return keras.Sequential([keras.Input((3,)), layer])


def with_own_layer(keras: Any) -> Any:
    """A layer whose class does not exist when the file is read."""

    class Own(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def call(self, x: Any) -> Any:
            return x

    return keras.Sequential([keras.Input((3,)), Own(name="mine")])


CODE = "layer 'sly' holds Python code (Lambda), which is not run"

OWN = "layer 'mine' is of the class 'Own', which is not Keras's own"

REFUSED: dict[str, tuple[Build, str, str]] = {
    "lambda": (with_lambda, ".keras", CODE),
    "named function": (with_function, ".h5", CODE),
    "own layer": (with_own_layer, ".keras", OWN),
    "own layer, HDF5": (with_own_layer, ".h5", OWN),
}


@pytest.mark.parametrize(("build", "suffix", "reason"), list(REFUSED.values()), ids=list(REFUSED))
def test_a_keras_file_with_code_is_refused(
    tmp_path: Path, build: Build, suffix: str, reason: str
) -> None:
    """In one line that names the layer."""
    path = written(build, tmp_path / f"model{suffix}")
    assert refusal(path) == f"{path}: {reason}"


def lambda_as_activation(layer: Any) -> None:
    """As Keras 3 writes a lambda that is no layer."""
    layer["config"]["activation"] = {"class_name": "__lambda__", "config": {"code": "4wAA"}}


def function_of_a_module(layer: Any) -> None:
    """A function of any module of Python."""
    layer["config"]["activation"] = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }


@pytest.mark.parametrize(
    ("suffix", "change", "reason"),
    [
        (".keras", lambda_as_activation, "holds Python code (Lambda), which is not run"),
        (".h5", function_of_a_module, "is of the class 'function', which is not Keras's own"),
    ],
)
def test_code_is_found_anywhere_in_a_config(
    tmp_path: Path, suffix: str, change: Callable[[Any], None], reason: str
) -> None:
    """Before Keras loads the file."""
    path = written(sequential, tmp_path / f"model{suffix}")
    edit_config(path, change)
    assert refusal(path) == f"{path}: layer 'scores' {reason}"


def test_code_in_a_form_of_its_own_is_refused_too(tmp_path: Path) -> None:
    """The form in which Keras 3 writes the code of an activation, and which it cannot read."""
    path = written(with_code_within, tmp_path / "model.keras")
    assert refusal(path) == (
        f"{path}: Keras cannot load it: Could not interpret activation function identifier"
    )


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    """They do not hold the model that they belong to."""
    import tensorflow as tf

    path = tmp_path / "model.weights.h5"
    sequential(tf.keras).save_weights(path)
    assert refusal(path) == f"{path}: it holds weights, but no model: save the whole model"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("m.keras", b"PK", "not a Keras file, or cut short (File is not a zip file)"),
        ("m.h5", b"\x89HDF\r\n", "not an HDF5 file, or cut short"),
        ("m.keras", None, "No such file or directory"),
        ("m.h5", None, "No such file or directory"),
    ],
)
def test_what_is_no_keras_file_is_refused(
    tmp_path: Path, name: str, data: bytes | None, reason: str
) -> None:
    """In one line."""
    if data is not None:
        (tmp_path / name).write_bytes(data)
    (line,) = refusal(tmp_path / name).splitlines()
    assert line.startswith(f"{tmp_path / name}: {reason}")


def test_a_zip_without_a_model_is_refused(tmp_path: Path) -> None:
    """With any other members."""
    with ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("readme.txt", "")
    assert "not a Keras file" in refusal(tmp_path / "m.keras")


@pytest.mark.parametrize("config", ["5", "null", "{", "[" * 100_000], ids=lambda text: text[:4])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, config: str) -> None:
    """In one line, in both kinds of file."""
    with ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", config)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        # Longer ones do not fit into an attribute.
        file.attrs["model_config"] = config[:60_000]
    for name in ("m.keras", "m.h5"):
        (line,) = refusal(tmp_path / name).splitlines()
        assert "not a Keras file, or cut short" in line


def test_a_config_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """HDF5 keeps numbers there as well."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = [1, 2]
    assert "not a Keras file" in refusal(tmp_path / "m.h5")


@pytest.mark.parametrize(("at", "flag"), [(6, 1), (8, 77)])
def test_an_archive_that_cannot_be_unpacked_is_refused(tmp_path: Path, at: int, flag: int) -> None:
    """It may need a password, or use an unknown compression."""
    path = tmp_path / "m.keras"
    with ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    data = bytearray(path.read_bytes())
    # Once in the header of the member, and once in the central directory, two bytes further.
    data[at] = data[data.index(b"PK\1\2") + at + 2] = flag
    path.write_bytes(data)
    assert "not a Keras file" in refusal(path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    """With the line of Keras that states the shapes."""
    path = written(sequential, tmp_path / "model.keras")
    edit_config(path, lambda layer: layer["config"].update(units=7))
    assert refusal(path) == (
        f"{path}: Keras cannot load it: A total of 1 objects could not be loaded"
    )


def never_built(keras: Any) -> Any:
    """A stack that was never called."""
    return keras.Sequential([dense(keras, "scores")])


def test_a_model_that_knows_no_shapes_is_refused(tmp_path: Path) -> None:
    """It has no weights yet."""
    path = written(never_built, tmp_path / "model.keras")
    assert refusal(path) == (
        f"{path}: Keras cannot load it: it was saved before the shape of its input was known"
    )


def test_without_a_writable_temporary_folder_the_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a Keras file needs one."""
    path = written(sequential, tmp_path / "model.keras")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert refusal(path) == (
        f"{path}: a Keras file needs a temporary folder: No such file or directory; "
        "set TMPDIR to a folder that can be written"
    )


def with_own_loss(keras: Any) -> Any:
    """A model that was trained by a function of its own."""

    def own_loss(_: Any, scores: Any) -> Any:
        return scores

    model = sequential(keras)
    model.compile("adam", own_loss)
    return keras.Sequential([keras.Input((3,), name="row"), model])


def test_what_trained_a_model_does_not_matter(tmp_path: Path) -> None:
    """It is never built."""
    (got,) = answer(written(with_own_loss, tmp_path / "m.h5"), {"row": ROWS}).values()
    np.testing.assert_allclose(got, SUMS)


def test_weights_that_were_damaged_are_refused(tmp_path: Path) -> None:
    """The rest of the archive may be intact."""
    path = written(sequential, tmp_path / "model.keras")
    data = bytearray(path.read_bytes())
    data[data.index(b"\x89HDF") + 100] ^= 1
    path.write_bytes(data)
    assert refusal(path) == f"{path}: Keras cannot load it: Bad CRC-32 for file 'model.weights.h5'"
