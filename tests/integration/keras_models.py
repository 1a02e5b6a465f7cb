"""Keras models for the tests with TensorFlow, and their outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from model.backends.tensorflow.files.keras_file import exported_saved_model
from model.backends.tensorflow.files.saved_model import (
    SavedGraph,
    load_saved_model,
    read_meta_graph,
)
from model.errors import ModelError
from tests.integration.saved_models import ROWS

#: Warnings of Keras that these models cause on purpose.
KERAS_WARNINGS = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:When providing .inputs. as a dict:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built"),
    pytest.mark.filterwarnings("ignore:The object being serialized includes:UserWarning"),
]

#: Returns a model of the Keras module that it is given.
Build = Callable[[Any], Any]

ONES = np.ones((3, 2), np.float32)
SUMS = ROWS @ ONES


def dense(keras: Any, name: str) -> Any:
    """Return a layer that sums each row, twice."""
    return keras.layers.Dense(2, kernel_initializer="ones", name=name)


def sequential(keras: Any) -> Any:
    """A stack of layers."""
    return keras.Sequential([keras.Input((3,), name="row"), dense(keras, "scores")])


def two_sided(keras: Any) -> Any:
    """Inputs and outputs with the names of their layers, one a keyword, one used twice."""
    first, second = (keras.Input((3,), name=name) for name in ("second", "class"))
    twice = keras.layers.ReLU(name="twice")
    return keras.Model(
        [first, second],
        [keras.layers.Subtract(name="difference")([first, second]), twice(first), twice(second)],
    )


def keyed(keras: Any) -> Any:
    """Inputs and outputs by the keys of dicts."""
    first, second = (keras.Input((3,), name=name) for name in ("z", "a"))
    difference = keras.layers.Subtract(name="difference")([first, second])
    return keras.Model({"from": first, "b": second}, {"y": difference, "in": second})


def of_images(keras: Any) -> Any:
    """A classifier: convolutions, batch normalisation and dropout, both inactive when served."""
    return keras.Sequential(
        [
            keras.Input((4, 5, 3), name="image"),
            keras.layers.Conv2D(2, 1, kernel_initializer="ones", use_bias=False),
            keras.layers.BatchNormalization(epsilon=0.0),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling2D(name="means"),
        ]
    )


def with_lambda(keras: Any) -> Any:
    """A layer of Python code, nested in other layers."""
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x, name="sly")])
    return keras.Sequential([keras.Input((3,)), inner])


Arrays = dict[str, np.ndarray]

KERAS_MODELS: dict[str, tuple[Build, Arrays, Arrays]] = {
    "sequential": (sequential, {"row": ROWS}, {"scores": SUMS}),
    "several": (
        two_sided,
        {"class": ROWS, "second": ROWS * 2},
        {"difference": ROWS, "twice": ROWS * 2, "twice_1": ROWS},
    ),
    "keyed": (keyed, {"b": ROWS, "from": ROWS * 3}, {"in": ROWS, "y": ROWS * 2}),
    "images": (
        of_images,
        {"image": np.ones((2, 4, 5, 3), np.float32)},
        {"means": np.full((2, 2), 3, np.float32)},
    ),
}


def written(build: Build, path: Path) -> Path:
    """Write the model that *build* makes to *path*."""
    import tensorflow as tf

    build(tf.keras).save(path)
    return path


def answer(path: Path, arrays: Arrays) -> Arrays:
    """Return the outputs by name, computed after the model's folder is removed."""
    import tensorflow.compat.v1 as tf

    with exported_saved_model(path) as folder:
        loaded = load_saved_model(folder, SavedGraph(read_meta_graph(folder), {}), tf.ConfigProto())
    assert not folder.exists()
    (endpoint,) = loaded.endpoints.values()
    assert endpoint.signature.alone == ""
    with loaded.session:
        call = loaded.session.make_callable(endpoint.fetches, list(endpoint.feeds))
        outputs = call(*endpoint.signature.feed(arrays).arrays)
    return dict(zip([spec.name for spec in endpoint.signature.outputs], outputs, strict=True))


def refusal(path: Path) -> str:
    """Return the error of loading *path*."""
    with pytest.raises(ModelError) as caught, exported_saved_model(path):
        pass
    return str(caught.value)


def edit_config(path: Path, change: Callable[[Any], None]) -> None:
    """Make a *change* to the config of the first layer with weights in a file."""
    edit_file(path, lambda config: change(config["config"]["layers"][1]))


def edit_file(path: Path, change: Callable[[Any], None], *, version: str | None = None) -> None:
    """Make a *change* to the config of a file, and replace its *version*."""
    if path.suffix == ".h5":
        import h5py  # type: ignore[import-untyped]  # it ships no type information

        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
            for each in (file, file["model_weights"]) if version is not None else ():
                each.attrs["keras_version"] = version
        return
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    if version is not None:
        members["metadata.json"] = json.dumps({"keras_version": version}).encode()
    with ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
