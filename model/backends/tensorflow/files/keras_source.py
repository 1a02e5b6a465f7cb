"""
Read the config of a Keras file, and copy the checked parts of the file.

A copy holds the config that was checked, the weights and the vocabularies, and nothing else: no
HDF5 link to another file, and no archive member that would be unpacked outside its folder.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from model.backends.tensorflow.error_text import one_line
from model.backends.tensorflow.files.keras_config import objects_of
from model.errors import ModelError

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]  # it ships no type information

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@dataclass(frozen=True, slots=True)
class KerasSource:
    """The config and the facts in a Keras file."""

    path: Path
    archive: bool  #: whether it is a .keras archive, by its first bytes, and not HDF5
    version: str  #: of the Keras that wrote it; "" if the file has none
    config: dict[str, Any]  #: of its layers; without the settings for training

    @property
    def major_version(self) -> int:
        """The first number of `version`; if that is empty, 2 or 3, by the layout of the config."""
        number = re.match(r"\d+", self.version)
        if number is not None:
            return int(number[0])
        old = any("batch_input_shape" in each for each, _ in objects_of(self.config))
        return 2 if old else 3


def read_source(path: Path) -> KerasSource:
    """
    Read the config and the version of the file at *path*.

    Raises `ModelError`, with a message of one line, for a file that is not a Keras file or not a
    whole model, and for a file written by Keras 1, or by Keras on Theano, whose kernels are
    flipped.
    """
    archive = _is_archive(path)
    try:
        config, version, backend = _read_archive(path) if archive else _read_hdf5(path)
    except ModelError:
        raise
    except OSError as error:
        reason = error.strerror or f"not an HDF5 file, or cut short ({error})"
        raise ModelError(f"{path}: {reason}") from error
    except Exception as error:  # zipfile documents no list of errors for broken archives
        raise ModelError(f"{path}: not a Keras file, or cut short ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: not a Keras file, or cut short (its config is not an object)")
    for each, _ in objects_of(config):
        each.pop("compile_config", None)
    source = KerasSource(path, archive, version, config)
    again = "load it with Keras 2 on TensorFlow and save it again"
    if source.major_version < 2:
        raise ModelError(f"{path}: a file of Keras {version}, which is not read: {again}")
    if source.major_version == 2 and backend == "theano":
        raise ModelError(f"{path}: a file of Keras {version} on Theano, which is not read: {again}")
    return source


def copy_source(source: KerasSource, folder: Path) -> Path:
    """
    Copy the parts of *source* that belong to the model into *folder*; return the new file.

    The name of the new file has the extension that Keras expects.  Raises `ModelError` for links to
    other files.
    """
    if source.archive:
        return _copy_archive(source, folder)
    import h5py

    copied = folder / "model.h5"
    with h5py.File(source.path) as file, h5py.File(copied, "w") as copy:
        _check_links(source.path, file)
        for name in {"keras_version", "backend"} & set(file.attrs):
            copy.attrs[name] = file.attrs[name]
        copy.attrs["model_config"] = json.dumps(source.config)
        file.copy("model_weights", copy)
    return copied


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error


def _read_archive(path: Path) -> tuple[Any, str, str]:
    """
    Return the config in the archive *path*, its version of Keras, and an empty backend.

    An archive states no backend.
    """
    with ZipFile(path) as members:
        metadata = json.loads(members.read(_METADATA)) if _METADATA in members.namelist() else {}
        return json.loads(members.read(_CONFIG)), str(metadata.get("keras_version", "")), ""


def _read_hdf5(path: Path) -> tuple[Any, str, str]:
    """
    Return the config in the HDF5 file *path*, its version of Keras, and its backend.

    Raises `ModelError` if the file has no config.
    """
    import h5py

    with path.open("rb") as stream, h5py.File(stream) as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ModelError(f"{path}: it holds weights, but no model: save the whole model")
        version, backend = (_text(file.attrs.get(name)) for name in ("keras_version", "backend"))
        return json.loads(text), version, backend


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _copy_archive(source: KerasSource, folder: Path) -> Path:
    import h5py

    copied, weights = folder / "model.keras", folder / _WEIGHTS
    with ZipFile(source.path) as members, ZipFile(copied, "w") as copy:
        copy.writestr(_CONFIG, json.dumps(source.config))
        names = set(members.namelist())
        for name in sorted(names):
            if PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
                raise ModelError(
                    f"{source.path}: its member {name!r} has a path outside of the archive"
                )
            if name == _METADATA or (name.startswith("assets/") and not name.endswith("/")):
                copy.writestr(name, members.read(name))
        if _WEIGHTS not in names:
            raise ModelError(f"{source.path}: it holds no weights ({_WEIGHTS})")
        with members.open(_WEIGHTS) as packed, weights.open("wb") as file:
            shutil.copyfileobj(packed, file)
        with h5py.File(weights) as file:
            _check_links(source.path, file)
        copy.write(weights, _WEIGHTS)
    weights.unlink()
    return copied


def _check_links(path: Path, file: "h5py.File") -> None:
    """Raise `ModelError` if *file* has a soft or external link, or a dataset in another file."""
    import h5py

    def link(name: str, kind: object) -> str | None:
        return None if isinstance(kind, h5py.HardLink) else name

    def data(name: str, item: object) -> str | None:
        outside = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
        return name if outside else None

    found = file.visititems_links(link) or file.visititems(data)
    if found is not None:
        raise ModelError(f"{path}: its {found!r} is in another file, which is not read")
