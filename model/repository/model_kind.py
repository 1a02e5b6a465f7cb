"""
Find the model at a path, and decide its kind, by names and bytes alone.

The bytes of a file decide its format; its name decides only if they do not identify a format.
Reads the disk and changes nothing; the loader finds out whether the model is complete.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from model.errors import ModelError
from model.repository.file_formats import (
    FROZEN_GRAPH,
    GRAPH_TEXT,
    HDF5,
    KERAS_ARCHIVE,
    LFS_POINTER,
    SAVED_MODEL,
    FileFormat,
    format_of,
    has_variables,
)


class ModelKind(StrEnum):
    """The kinds of models that `find_model` finds; the values are the names in messages."""

    FROZEN_GRAPH = "frozen graph"
    SAVED_MODEL = "SavedModel"
    KERAS = "Keras model"  #: a .keras archive or an HDF5 file; its first bytes show which


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model on disk, and its kind."""

    kind: str  #: as messages name it: a `ModelKind`, or a kind that only its backend reads
    path: Path  #: the file to load; for a SavedModel, its folder
    folder: Path  #: the folder that may hold a model.toml for this model


_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_BY_SUFFIX = {
    ".pb": ModelKind.FROZEN_GRAPH,
    ".graphdef": ModelKind.FROZEN_GRAPH,  # as Triton names it
    ".keras": ModelKind.KERAS,
    ".h5": ModelKind.KERAS,
    ".hdf5": ModelKind.KERAS,
}
_BY_FORMAT = {
    FROZEN_GRAPH: ModelKind.FROZEN_GRAPH,
    HDF5: ModelKind.KERAS,
    KERAS_ARCHIVE: ModelKind.KERAS,
}
#: The end of the name of a SavedModel in the folder of a version, as Triton names it.
_SAVED_MODEL_SUFFIX = ".savedmodel"
#: Ends of names of files that are not served, as regular expressions, and what the files are.
_FOREIGN = (
    (r"\.weights\.h5", "weights without their model"),
    (r"\.pbtxt", "a graph written as text"),
    (r"\.tflite", "a TensorFlow Lite model"),
    (r"\.ckpt(-\d+)?|\.index|\.meta|\.data-\d+-of-\d+", "a part of a checkpoint"),
    (r"\.onnx", "an ONNX model"),
    (r"\.pth?", "a PyTorch model"),
    (r"keras_metadata\.pb|fingerprint\.pb", "a part of a SavedModel"),
)
#: Bytes of the largest pointer file of Git LFS.
_MAX_POINTER_BYTES = 1024

_WHOLE_FOLDER = "a SavedModel is served from its whole folder: --model FOLDER"
_ACCEPTED = "a frozen graph (.pb), a SavedModel folder, or a .keras or .h5 file"


def find_model(path: Path) -> ModelFiles:
    """
    Return the model at *path*: a file, or a folder that is a SavedModel or holds one model file.

    Raises `ModelError` for a path that cannot be read, for a file that is known not to be a model,
    and for a folder with no model or with several; the message states what was found.
    """
    try:
        if path.is_dir():
            return _model_in_folder(path)
        if path.exists() and not path.is_file():
            raise ModelError(f"{path}: neither a file nor a folder")
        return _named_file(path)
    except OSError as error:
        raise ModelError(f"{error.filename or path}: {error.strerror}") from error


def _named_file(path: Path) -> ModelFiles:
    """
    Return the model in the file *path*.

    Raises `ModelError` for a saved_model.pb that needs variables but has no folder of variables
    beside it, and for a file that is not served.
    """
    files = _model_file(path)
    alone = files.kind == ModelKind.SAVED_MODEL and not (files.path / "variables").is_dir()
    if alone and format_of(path) is SAVED_MODEL and has_variables(path):
        raise ModelError(f"{path}: {SAVED_MODEL.what} without its variables; {_WHOLE_FOLDER}")
    return files


def _model_file(path: Path) -> ModelFiles:
    found = format_of(path)
    if path.name in _SAVED_MODEL_FILES and found in (SAVED_MODEL, GRAPH_TEXT, None):
        _refuse_pointers(path.parent)
        return ModelFiles(ModelKind.SAVED_MODEL, path.parent, path.parent)
    if found is SAVED_MODEL:
        raise ModelError(f"{path}: {SAVED_MODEL.what} under another name; {_WHOLE_FOLDER}")
    foreign = _foreign(path)
    if foreign and found is not FROZEN_GRAPH:
        raise _refusal(path, FileFormat(foreign))
    if found is not None and found not in _BY_FORMAT:
        raise _refusal(path, found)
    by_name = _BY_SUFFIX.get(path.suffix.lower(), ModelKind.FROZEN_GRAPH)
    kind = by_name if found is None else _BY_FORMAT[found]
    return ModelFiles(kind, path, path.parent)


def _refusal(path: Path, found: FileFormat) -> ModelError:
    if found.advice:
        return ModelError(f"{path}: {found.what}, not a model: {found.advice}")
    return ModelError(f"{path}: {found.what} cannot be served; expected {_ACCEPTED}")


def _refuse_pointers(folder: Path) -> None:
    """
    Raise `ModelError` if a file of the SavedModel in *folder* is only a Git LFS pointer.

    Checks the files in variables/ and assets/.
    """
    for inner in ("variables", "assets"):
        for path in sorted(folder.joinpath(inner).rglob("*")):
            small = path.is_file() and path.stat().st_size <= _MAX_POINTER_BYTES
            if small and format_of(path) is LFS_POINTER:
                raise _refusal(path, LFS_POINTER)


def _model_in_folder(folder: Path) -> ModelFiles:
    # Hidden files do not belong to the model: editors and archives of other systems add them.
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    for name in _SAVED_MODEL_FILES:
        if (folder / name).is_file():
            return _model_file(folder / name)
    if (folder / "variables").is_dir():
        raise ModelError(f"{folder}: holds variables/, but not the saved_model.pb of a SavedModel")
    models = [
        child
        for child in children
        if child.suffix.lower() in _BY_SUFFIX and not _foreign(child) and child.is_file()
    ]
    models += [
        child
        for child in children
        if child.suffix.lower() == _SAVED_MODEL_SUFFIX and _is_saved_model(child)
    ]
    if len(models) == 1:
        (model,) = models
        return (
            replace(_model_in_folder(model), folder=folder)
            if model.is_dir()
            else _model_file(model)
        )
    if models:
        raise ModelError(f"{folder}: holds {len(models)} models; name one of {_listed(models)}")
    inner = [child for child in children if _is_saved_model(child)]
    if inner:
        raise ModelError(
            f"{folder}: is not a SavedModel; name one of those in it: {_listed(inner)}"
        )
    found = _listed(children) or "nothing"
    raise ModelError(f"{folder}: holds no model; expected {_ACCEPTED}, found {found}")


def _foreign(path: Path) -> str:
    """
    Return what the file *path* is, if its name shows a kind that is not served; else "".

    For example, "an ONNX model" for a name that ends with ".onnx".
    """
    matches = (what for ending, what in _FOREIGN if re.search(f"({ending})$", path.name.lower()))
    return next(matches, "")


def _is_saved_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED_MODEL_FILES)


def _listed(paths: list[Path]) -> str:
    """
    Return the first eight names of *paths* as text, quoted so that no name can break the line.
    """
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(repr(path.name) for path in paths[:8]) + more
