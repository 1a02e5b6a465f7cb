"""
Tell what kind of model a path leads to, by names and first bytes alone.

Looks at the disk and changes nothing; whether the model is whole is for its loader to find out.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from model.runner import ModelError


class ModelKind(Enum):
    """What a loader has to be able to read; the values are for messages."""

    FROZEN_GRAPH = "frozen graph"
    SAVED_MODEL = "SavedModel"
    KERAS = "Keras model"  #: a .keras archive or an HDF5 file, which the first bytes tell apart


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk."""

    kind: ModelKind
    path: Path  #: what is loaded: a file or, of a SavedModel, its folder
    folder: Path  #: the folder whose model.toml speaks of it


_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_BY_SUFFIX = {
    ".pb": ModelKind.FROZEN_GRAPH,
    ".keras": ModelKind.KERAS,
    ".h5": ModelKind.KERAS,
    ".hdf5": ModelKind.KERAS,
}
#: How a file begins that may be called anything: HDF5, and the ZIP archive that a .keras file is.
_KERAS_MAGIC = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")
#: How the name of what is no model ends, or not one that is served here; and what it is.
_FOREIGN = (
    (r"\.weights\.h5", "weights without their model"),
    (r"\.pbtxt", "a graph written as text"),
    (r"\.tflite", "a TensorFlow Lite model"),
    (r"\.ckpt(-\d+)?|\.index|\.meta|\.data-\d+-of-\d+", "a part of a checkpoint"),
    (r"\.onnx", "an ONNX model"),
    (r"\.pth?", "a PyTorch model"),
)
_TAKEN = "a frozen graph (.pb), a SavedModel folder, or a .keras or .h5 file"


def find_model(path: Path) -> ModelFiles:
    """
    Return the model at *path*: a file, or a folder that is a SavedModel or holds one model file.

    Raises `ModelError` for what cannot be read, for a file that is known to be something else, and
    for a folder with no model or with several; the line says what was found.
    """
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists() and not path.is_file():
            raise ModelError(f"{path}: neither a file nor a folder")
        return _of_file(path)
    except OSError as error:
        raise ModelError(f"{error.filename or path}: {error.strerror}") from error


def _of_file(path: Path) -> ModelFiles:
    with path.open("rb") as file:
        begin = file.read(8)
    if path.name in _SAVED_MODEL_FILES:
        return ModelFiles(ModelKind.SAVED_MODEL, path.parent, path.parent)
    foreign = _foreign(path)
    if foreign:
        raise ModelError(f"{path}: {foreign} cannot be served; expected {_TAKEN}")
    unnamed = ModelKind.KERAS if begin.startswith(_KERAS_MAGIC) else ModelKind.FROZEN_GRAPH
    return ModelFiles(_BY_SUFFIX.get(path.suffix.lower(), unnamed), path, path.parent)


def _in_folder(folder: Path) -> ModelFiles:
    # Hidden ones are none of the model's: editors and archives from other systems leave them.
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    if _is_saved_model(folder):
        return ModelFiles(ModelKind.SAVED_MODEL, folder, folder)
    if (folder / "variables").is_dir():
        raise ModelError(f"{folder}: holds variables/, but not the saved_model.pb of a SavedModel")
    models = [
        child
        for child in children
        if child.suffix.lower() in _BY_SUFFIX and not _foreign(child) and child.is_file()
    ]
    if len(models) == 1:
        return _of_file(models[0])
    if models:
        raise ModelError(f"{folder}: holds {len(models)} models; name one of {_listed(models)}")
    inner = [child for child in children if _is_saved_model(child)]
    if inner:
        raise ModelError(f"{folder}: is no SavedModel; name one of those in it: {_listed(inner)}")
    found = _listed(children) or "nothing"
    raise ModelError(f"{folder}: holds no model; expected {_TAKEN}, found {found}")


def _foreign(path: Path) -> str:
    """Return what *path* is by its name, if that is something else than a model for us."""
    matches = (what for ending, what in _FOREIGN if re.search(f"({ending})$", path.name.lower()))
    return next(matches, "")


def _is_saved_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED_MODEL_FILES)


def _listed(paths: list[Path]) -> str:
    """Return the names, quoted so that none can break the line; of many the first eight."""
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(repr(path.name) for path in paths[:8]) + more
