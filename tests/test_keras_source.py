"""What is read and copied of a Keras file before Keras loads it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py  # type: ignore[import-untyped]  # it ships no type information
import numpy as np
import pytest

from model.backends.tensorflow.files.keras_source import copy_source, read_source
from model.errors import ModelError

OLD = {"class_name": "Sequential", "config": [{"config": {"batch_input_shape": [None, 3]}}]}
NEW = {"class_name": "Sequential", "config": {"layers": [{"config": {"batch_shape": [None, 3]}}]}}

Change = Callable[[h5py.File, Path], None]


def nothing(file: h5py.File, other: Path) -> None:
    """Do not change the weights."""


def hdf5(
    path: Path,
    config: Any = OLD,
    change: Change = nothing,
    version: str = "2.4.0",
    backend: str = "tensorflow",
) -> Path:
    """Write an HDF5 file with changed weights; without a version if *version* is empty."""
    attributes = {"keras_version": version, "backend": backend} if version else {}
    with h5py.File(path, "w") as file:
        file.attrs.update({"model_config": json.dumps(config), **attributes})
        file["model_weights/dense/kernel"] = np.ones(2)
        file["optimizer_weights/kernel"] = np.ones(2)
        change(file, path.parent / "secret.h5")
    return path


def archive(
    path: Path,
    config: Any = OLD,
    change: Change = nothing,
    version: str = "2.15.0",
    more: Iterable[str] = (),
) -> Path:
    """Write an archive with changed weights and *more* members."""
    weights = hdf5(path.parent / "weights.h5", change=change)
    with ZipFile(path, "w") as members:
        if version:
            members.writestr("metadata.json", json.dumps({"keras_version": version}))
        members.writestr("config.json", json.dumps(config))
        members.write(weights, "model.weights.h5")
        for name in more:
            members.writestr(name, "a")
    return path


@pytest.mark.parametrize(
    ("version", "config", "major_version"),
    [
        ("2.2.4", NEW, 2),
        ("2.1.6-tf", NEW, 2),
        ("2.15.0", NEW, 2),
        ("3.5.0", OLD, 3),
        ("", OLD, 2),
        ("", NEW, 3),
    ],
)
def test_the_version_gives_the_major_version_and_else_the_layout(
    tmp_path: Path, version: str, config: Any, major_version: int
) -> None:
    """Of both kinds of file."""
    for write in (hdf5, archive):
        source = read_source(write(tmp_path / "m", config, version=version))
        assert source.major_version == major_version


@pytest.mark.parametrize(
    ("version", "backend", "written_by"),
    [
        ("1.2.2", "tensorflow", "Keras 1.2.2"),
        ("1", "theano", "Keras 1"),
        ("2.1.6", "theano", "Keras 2.1.6 on Theano"),
    ],
)
def test_what_is_older_than_keras_2_on_tensorflow_is_refused(
    tmp_path: Path, version: str, backend: str, written_by: str
) -> None:
    """Its kernels are flipped, so the outputs would be wrong."""
    path = hdf5(tmp_path / "m.h5", version=version, backend=backend)
    assert fault(path) == (
        f"{path}: a file of {written_by}, which is not read: "
        "load it with Keras 2 on TensorFlow and save it again"
    )


def fault(path: Path) -> str:
    """Return why *path* is refused."""
    with pytest.raises(ModelError) as caught:
        copy_source(read_source(path), path.parent)
    return str(caught.value)


def external_link(file: h5py.File, other: Path) -> None:
    """Take a group from another file."""
    file["model_weights/other"] = h5py.ExternalLink(str(other), "/model_weights")


def soft_link(file: h5py.File, other: Path) -> None:
    """Take a group by a name that no group has."""
    file["model_weights/other"] = h5py.SoftLink(f"/{other.name}")


def external_data(file: h5py.File, other: Path) -> None:
    """Take numbers from another file's bytes."""
    file.create_dataset("model_weights/other", (2,), "f4", external=[(str(other), 0, 8)])


def virtual_data(file: h5py.File, other: Path) -> None:
    """Take numbers from another file's numbers."""
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "x", (2,))
    file.create_virtual_dataset("model_weights/other", layout)


@pytest.mark.parametrize("write", [hdf5, archive])
@pytest.mark.parametrize("change", [external_link, soft_link, external_data, virtual_data])
def test_weights_in_another_file_are_refused(
    tmp_path: Path, write: Callable[..., Path], change: Change
) -> None:
    """In one line that names them."""
    (tmp_path / "own").mkdir()
    path = write(tmp_path / "own" / "m", change=change)
    assert fault(path) == (
        f"{path}: its 'model_weights/other' is in another file, which is not read"
    )


@pytest.mark.parametrize("name", ["../m", "assets/../../m", "/etc/m", "assets\\..\\m"])
def test_a_member_with_a_path_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    """Keras would unpack it there."""
    path = archive(tmp_path / "m", more=[name])
    assert fault(path) == f"{path}: its member {name!r} has a path outside of the archive"


def test_an_archive_without_weights_is_refused(tmp_path: Path) -> None:
    """Or with weights in a form that may hold pickles."""
    path = tmp_path / "m"
    with ZipFile(path, "w") as members:
        members.writestr("config.json", json.dumps(OLD))
        members.writestr("model.weights.npz", "")
    assert fault(path) == f"{path}: it holds no weights (model.weights.h5)"


def test_a_copy_holds_only_the_parts_of_the_model(tmp_path: Path) -> None:
    """Neither training settings, nor other members of the file."""
    config = {"class_name": "A", "config": [{"class_name": "B", "compile_config": {"loss": "x"}}]}
    kept = {"class_name": "A", "config": [{"class_name": "B"}]}
    more = ["assets/words/vocabulary.txt", "readme.txt", "model.weights.npz"]
    packed = read_source(archive(tmp_path / "packed", config, more=more))
    with ZipFile(copy_source(packed, tmp_path)) as members:
        assert set(members.namelist()) == {
            "assets/words/vocabulary.txt",
            "config.json",
            "metadata.json",
            "model.weights.h5",
        }
        assert json.loads(members.read("config.json")) == kept
    old = read_source(hdf5(tmp_path / "old", config))
    with h5py.File(copy_source(old, tmp_path)) as file:
        assert json.loads(file.attrs["model_config"]) == kept
        assert (file.attrs["keras_version"], file.attrs["backend"]) == ("2.4.0", "tensorflow")
        assert list(file) == ["model_weights"]
        assert file["model_weights/dense/kernel"][:].tolist() == [1, 1]
