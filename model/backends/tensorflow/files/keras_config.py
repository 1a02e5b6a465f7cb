"""
Check the classes and functions that a Keras file names, before Keras loads it.

A file names the classes and functions that Keras is to call, and may hold code.  Keras's own safe
mode does not check every place in a file, so this module checks all of them: only Keras's own
layers, and functions that only compute, are allowed.  Changes nothing and imports no Keras.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any

from model.backends.tensorflow.files.keras_functions import only_computes, operation_only_computes
from model.errors import ModelError

#: Classes that hold Python code, as source, bytes or pickles.
_CODE_CLASSES = ("Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
#: Classes of Keras that load a file by its path, or call a method by its name.
_UNSAFE_CLASSES = (
    "TFSMLayer",
    "DenseFeatures",
    "SequenceFeatures",
    "ClassMethod",
    "InstanceMethod",
    "InstanceProperty",
)
#: Class names in a config for values that JSON cannot represent.
_VALUE_CLASSES = (
    "__bytes__",
    "__ellipsis__",
    "__keras_tensor__",
    "__numpy__",
    "__slice__",
    "__tensor__",
    "__tuple__",
    "TensorShape",
)
#: Keras's own classes that none of its public modules lists.
_UNLISTED_CLASSES = (
    "AddLoss",
    "AddMetric",
    "BatchNormalizationV1",
    "BatchNormalizationV2",
    "CuDNNGRU",
    "CuDNNLSTM",
    "CustomScaleLayer",  # of the applications InceptionResNetV2 and ConvNeXt
    "Functional",
    "GRUV1",
    "GRUV2",
    "LSTMV1",
    "LSTMV2",
    "LayerScale",
    "PolicyV1",
    "RandomFourierFeatures",
    "SlicingOpLambda",
    "StochasticDepth",
    "SyncBatchNormalization",
    "TFOpLambda",
    "TensorFlowOpLayer",
)
_PUBLIC_MODULES = (
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "mixed_precision",
    "models",
    "quantizers",
    "random",
    "regularizers",
)
#: The modules of Keras that a config may name for a class.
_MODULES = re.compile(
    rf"(tf_)?keras(\.src)?(\.({'|'.join(_PUBLIC_MODULES)}|applications|engine|ops)(\.\w+)*)?"
)
_FUNCTION_MODULES = re.compile(r"builtins|(tf_)?keras(\.src)?\.activations(\.\w+)*")


@dataclass(frozen=True, slots=True)
class OwnNames:
    """The names that a config may use with one release of Keras."""

    classes: frozenset[str]
    functions: frozenset[str]  #: activations


def own_names(keras: Any) -> OwnNames:
    """Return the names that a config may use with *keras*, the package of Keras 3 or tf_keras."""
    spaces = [vars(getattr(keras, name)) for name in _PUBLIC_MODULES if hasattr(keras, name)]
    classes = {name for space in spaces for name in space if isinstance(space[name], type)}
    operation = getattr(keras, "Operation", None)  # in Keras 3: the class of `x + 1` in a model
    operations = {
        each.__name__
        for each in (operation.__subclasses__() if operation is not None else ())
        if each.__module__.startswith("keras.src.ops.")
    }
    functions = {name for name, each in vars(keras.activations).items() if isfunction(each)}
    return OwnNames(
        frozenset(
            {*classes, *operations, *_UNLISTED_CLASSES}.difference(_CODE_CLASSES, _UNSAFE_CLASSES)
        ),
        frozenset(functions - {"deserialize", "get", "serialize"}),
    )


def check_config(path: Path, config: dict[str, Any], own: OwnNames) -> None:
    """
    Raise `ModelError` if *config* holds code, or names a class or function that is not in *own*.

    The message names the layer and the class or function.
    """
    for each, layer in objects_of(config):
        fault = _reason_refused(each, own)
        if fault is not None:
            raise ModelError(f"{path}: {layer} {fault}")


def objects_of(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """
    Yield each JSON object in *config*, at any depth, with a phrase that names its layer.

    The layer is the innermost one that contains the object.
    """
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


def _reason_refused(each: dict[str, Any], own: OwnNames) -> str | None:
    """Return why the object *each* of a config is refused; None if it is allowed."""
    kind, inner = each.get("class_name"), each.get("config")
    if kind in _CODE_CLASSES or each.get("function_type") == "lambda":
        code = kind if kind in _CODE_CLASSES and kind != "__lambda__" else "Lambda"
        return f"holds Python code ({code}), which is not run"
    if kind in _UNSAFE_CLASSES:
        return f"is a {kind}, which could read files or run code"
    if isinstance(each.get("vocabulary"), str):
        return "reads its vocabulary from a file, which is not part of the model"
    if "class_name" not in each or kind in _VALUE_CLASSES:
        return None
    if not (
        _is_listed(each, inner, own.functions, _FUNCTION_MODULES)
        if kind == "function"
        else _is_listed(each, kind, own.classes, _MODULES)
    ):
        return f"is of the class {kind!r}, which is not Keras's own"
    return _reason_call_refused(kind, inner if isinstance(inner, dict) else {})


def _is_listed(
    each: dict[str, Any], name: object, names: frozenset[str], modules: re.Pattern[str]
) -> bool:
    """
    Whether *names* contains *name*, and the object *each* does not refer to anything else.

    If *each* states a module, *modules* must match it; if it states a registered name, that must be
    *name*.
    """
    module = each.get("module")
    return (
        isinstance(name, str)
        and name in names
        # Some releases of Keras import any module named here, or look up the registered name.
        and (module is None or modules.fullmatch(str(module)) is not None)
        and each.get("registered_name") in (None, name)
    )


def _reason_call_refused(kind: object, config: dict[str, Any]) -> str | None:
    """
    Return why a layer of the class *kind* is refused; None if it is allowed.

    Only a layer that calls TensorFlow is refused: the layer's *config* names what it calls.
    """
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        function = config.get("function")
        computes = only_computes(function)
    elif kind == "TensorFlowOpLayer":
        node = config.get("node_def")
        function = node.get("op") if isinstance(node, dict) else node
        computes = operation_only_computes(function)
    else:
        return None
    return None if computes else f"calls TensorFlow's {function!r}, which may do more than compute"
