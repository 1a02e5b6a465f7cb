"""
Turn a Keras file into a SavedModel that stays for as long as it takes to load it.

A Keras file says how to build a model in Python, and may hold code for that.  So what it asks for
is read before Keras sees it, and nothing but Keras's own layers and functions is let through.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from model.backends.tensorflow.files.temporary import temporary_folder
from model.backends.tensorflow.reasons import one_line
from model.runner import ModelError

if TYPE_CHECKING:
    import tensorflow as tf


@contextmanager
def exported(path: Path) -> "Iterator[Path]":
    """
    Provide a folder with the model in *path* as a SavedModel; it is removed at the end.

    Its one signature, serving_default, names the inputs as their layers are, or by the keys of a
    model that takes a dict, and the outputs likewise.  Raises `ModelError`, in one line, for a
    file that is no whole model, and for one that asks for code that is not Keras's own.
    """
    archive = _is_archive(path)
    _check_code(path, _config(path, archive=archive))
    import tensorflow as tf

    unreadable = (OSError, RuntimeError, TypeError, ValueError, LookupError, AttributeError)
    with temporary_folder(path) as folder:
        # Keras goes by how a file is called.
        named = Path(folder, "model.keras" if archive else "model.h5")
        named.symlink_to(path.resolve())
        try:
            _export(named, Path(folder, "saved"))
        except (*unreadable, tf.errors.OpError) as error:
            raise ModelError(f"{path}: Keras cannot load it: {_reason(error)}") from error
        yield Path(folder, "saved")


def _is_archive(path: Path) -> bool:
    """Whether it is a .keras archive, whatever it is called, and not HDF5."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error


def _config(path: Path, *, archive: bool) -> dict[str, Any]:
    """Return what the file says of its layers."""
    try:
        text = _config_text(path, archive=archive)
        config = {} if text is None else json.loads(text)
    except OSError as error:
        reason = error.strerror or f"not an HDF5 file, or cut short ({error})"
        raise ModelError(f"{path}: {reason}") from error
    except Exception as error:  # no list says what broken archives raise
        raise ModelError(f"{path}: not a Keras file, or cut short ({one_line(error)})") from error
    if text is None:
        raise ModelError(f"{path}: it holds weights, but no model: save the whole model")
    if not isinstance(config, dict):
        raise ModelError(f"{path}: not a Keras file, or cut short (its config is no object)")
    return config


def _config_text(path: Path, *, archive: bool) -> Any:
    """Return the JSON in the file, if all is well with it; None where an HDF5 file has none."""
    if archive:
        with ZipFile(path) as members:
            return members.read("config.json")
    import h5py  # type: ignore[import-untyped]  # it ships no type information

    with path.open("rb") as stream, h5py.File(stream) as file:
        return file.attrs.get("model_config")


def _check_code(path: Path, config: dict[str, Any]) -> None:
    """Raise `ModelError` where *config* holds code, or names some that is not Keras's."""
    for each, layer in _objects(config):
        kind, module = each.get("class_name"), each.get("module")
        if kind in ("Lambda", "__lambda__") or each.get("function_type") == "lambda":
            raise ModelError(f"{path}: {layer} holds Python code (Lambda), which is not run")
        own = module in ("keras", "builtins") or str(module).startswith("keras.")
        # Some releases of Keras import whatever module stands there.
        if (each.get("registered_name") or (kind and module)) and not own:
            raise ModelError(f"{path}: {layer} is of the class {kind!r}, which is not Keras's own")


def _objects(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each object of *config*, and the layer that it is or belongs to, in words."""
    waiting: list[tuple[Any, str]] = [(config, "the model")]
    while waiting:
        each, layer = waiting.pop()
        if isinstance(each, dict):
            inner = each.get("config")
            if "class_name" in each and isinstance(inner, dict) and "name" in inner:
                layer = f"layer {inner['name']!r}"
            yield each, layer
            each = list(each.values())
        waiting += [(one, layer) for one in reversed(each) if isinstance(one, dict | list)]


def _export(path: Path, folder: Path) -> None:
    import tensorflow as tf

    model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    inputs, outputs = _structure(model, "input"), _structure(model, "output")
    names = _names(inputs)

    def serve(*arrays: "tf.Tensor") -> "dict[str, tf.Tensor]":
        results = model(tf.keras.tree.pack_sequence_as(inputs, arrays), training=False)
        flat = tf.keras.tree.flatten(results)
        return {f"output_{number}": each for number, each in enumerate(flat)}

    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{number}")
        for number, tensor in enumerate(tf.keras.tree.flatten(inputs))
    ]
    module = tf.Module()
    module.model = model
    # A Sequential does not hand on what its layers hold.
    module.kept = [variable.value for variable in model.variables]
    function = tf.function(serve, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    _rename(folder, names, _names(outputs))


def _structure(model: Any, side: str) -> Any:
    """Return what the model takes or gives: a tensor, or a list or dict of them."""
    structure = getattr(model, side, None)
    if structure is None:  # as that of a Sequential, which has one tensor on each side
        tensors = getattr(model, f"{side}s", None)
        if not tensors:
            raise ValueError(f"it was saved before it knew the shape of its {side}")
        structure = tensors[0]
    return structure


def _names(structure: Any) -> list[str]:
    """Return a name for each tensor of *structure*, flattened: its key, or its layer."""
    import tensorflow as tf

    if isinstance(structure, dict):
        return sorted(structure)
    names: list[str] = []
    for tensor in tf.keras.tree.flatten(structure):
        layer = tensor._keras_history.operation.name  # noqa: SLF001  (said nowhere else)
        others = (layer if not number else f"{layer}_{number}" for number in count())
        names.append(next(name for name in others if name not in names))
    return names


def _rename(folder: Path, inputs: list[str], outputs: list[str]) -> None:
    """Give the signature its names: an argument of a function could not be called "class"."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    signature = saved_model.meta_graphs[0].signature_def["serving_default"]
    for infos, kind, names in (
        (signature.inputs, "input", inputs),
        (signature.outputs, "output", outputs),
    ):
        given = deepcopy(dict(infos))
        infos.clear()
        for number, name in enumerate(names):
            infos[name].CopyFrom(given[f"{kind}_{number}"])
    path.write_bytes(saved_model.SerializeToString())


def _reason(error: Exception) -> str:
    """Return what was wrong: Keras says it last, then goes on about registering or shows bytes."""
    _, _, last = str(error).rpartition("Exception encountered: ")
    return one_line(ValueError(last)).partition(". ")[0].partition(": {")[0]
