"""
Convert a Keras file to a temporary SavedModel.

A Keras file describes how to build a model in Python, and may hold code for that.  Its config is
checked before Keras loads it: only Keras's own layers and functions are allowed.
"""

import importlib
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.backends.tensorflow.error_text import one_line
from model.backends.tensorflow.files.keras_config import check_config, objects_of, own_names
from model.backends.tensorflow.files.keras_source import KerasSource, copy_source, read_source
from model.backends.tensorflow.files.temporary import temporary_folder
from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tensorflow as tf


@contextmanager
def exported_saved_model(path: Path) -> "Iterator[Path]":
    """
    Provide a folder with the model in *path* as a SavedModel; remove the folder after the block.

    The SavedModel has one signature, serving_default, which names inputs and outputs by their
    layers, or by the keys of the dict that the model takes or returns.  A file of Keras 2 is loaded
    by tf_keras, or by Keras 3 if tf_keras is not installed.

    Raises `ModelError`, with a message of one line, for a file without a whole model, for a file
    that names code other than Keras's own, and if no temporary folder can be made.
    """
    source = read_source(path)
    keras = _keras_for(source)
    check_config(path, source.config, own_names(keras))
    with temporary_folder(path) as folder:
        try:
            copied = copy_source(source, folder)
            model = keras.models.load_model(copied, compile=False, safe_mode=True)
            copied.unlink()
            _export(model, folder / "saved")
        except ModelError:
            raise
        except Exception as error:  # Keras documents no list of its errors
            raise _not_loaded(source, keras, _reason(error)) from error
        yield folder / "saved"


def _keras_for(source: KerasSource) -> Any:
    """Return the package that loads *source*, keras or tf_keras; raises `ModelError`."""
    if source.major_version != 2:
        return importlib.import_module("keras")
    try:
        return importlib.import_module("tf_keras")
    except ModuleNotFoundError:
        keras = importlib.import_module("keras")
    except Exception as error:  # raised, for example, by a version for another TensorFlow
        reason = f"tf_keras cannot be imported: {one_line(error)}"
        raise ModelError(f"{source.path}: {reason}") from error
    # Keras 3 reads some files of Keras 2 with the same results, except for hard_sigmoid.
    if any("hard_sigmoid" in each.values() for each, _ in objects_of(source.config)):
        raise _not_loaded(source, keras, "hard_sigmoid is a different function in Keras 3")
    return keras


def _not_loaded(source: KerasSource, keras: Any, reason: str) -> ModelError:
    """Return the error for *source*, which *keras* cannot load, with the possible remedies."""
    if source.major_version != 2 or keras.__name__ == "tf_keras":
        return ModelError(f"{source.path}: Keras cannot load it: {reason}")
    version = f" ({source.version})" if source.version else ""
    return ModelError(
        f"{source.path}: a file of Keras 2{version}, which Keras 3 cannot load: {reason}; "
        "pip install 'tf_keras', or export it as a SavedModel with model.export"
    )


def _export(model: Any, folder: Path) -> None:
    import tensorflow as tf

    inputs, outputs = _structure(model, "input"), _structure(model, "output")
    names = _tensor_names(inputs)

    def serve(*arrays: "tf.Tensor") -> "dict[str, tf.Tensor]":
        results = model(tf.nest.pack_sequence_as(inputs, arrays), training=False)
        return {f"output_{number}": each for number, each in enumerate(tf.nest.flatten(results))}

    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{number}")
        for number, tensor in enumerate(tf.nest.flatten(inputs))
    ]
    module = tf.Module()
    module.kept = _tracked_objects(model)
    function = tf.function(serve, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    _rename_tensors(folder, names, _tensor_names(outputs))


def _tracked_objects(model: Any) -> list[Any]:
    """Return the objects to save with the function: they hold the model's variables and tables."""
    import tensorflow as tf

    if isinstance(model, tf.Module):  # Keras 2: saving the model itself would trace every layer
        tables = [each.lookup_table for each in model.submodules if hasattr(each, "lookup_table")]
        return [*model.variables, *tables]
    # A Sequential does not track the variables of its layers.
    return [model, *(variable.value for variable in model.variables)]


def _structure(model: Any, side: str) -> Any:
    """
    Return the inputs of *model* if *side* is "input", its outputs if it is "output".

    They are one tensor, or a list or dict of tensors.  Raises ValueError if the file does not state
    their shapes.
    """
    structure = getattr(model, side, None)
    if structure is None:  # a Sequential, which has one tensor on each side
        tensors = getattr(model, f"{side}s", None)
        if not tensors:
            raise ValueError(f"it was saved before the shape of its {side} was known")
        structure = tensors[0]
    return structure


def _tensor_names(structure: Any) -> list[str]:
    """Return a name for each tensor of *structure*: its key in a dict, else its layer's name."""
    import tensorflow as tf

    if isinstance(structure, dict):
        return sorted(structure)
    names: list[str] = []
    for tensor in tf.nest.flatten(structure):
        layer = tensor._keras_history[0].name  # noqa: SLF001  (no public name for it)
        others = (layer if not number else f"{layer}_{number}" for number in count())
        names.append(next(name for name in others if name not in names))
    return names


def _rename_tensors(folder: Path, inputs: list[str], outputs: list[str]) -> None:
    """
    Change the names in the signature of the SavedModel in *folder* to *inputs* and *outputs*.

    Done after the export, since some names, such as "class", cannot be arguments of a function.
    """
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
    """Return the last part of the message of *error*, without Keras's advice and quoted config."""
    _, _, last = str(error).rpartition("Exception encountered: ")
    line = one_line(ValueError(last)).partition(". ")[0]
    return line if line.startswith("Unrecognized keyword") else line.partition(": {")[0]
