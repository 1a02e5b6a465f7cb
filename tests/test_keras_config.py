"""What a Keras file may name: classes and functions, anywhere in its config."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from model.backends.tensorflow.files.keras_config import OwnNames, check_config
from model.errors import ModelError

OWN = OwnNames(
    frozenset(
        {
            "Dense",
            "Functional",
            "Sequential",
            "SlicingOpLambda",
            "StringLookup",
            "TFOpLambda",
            "TensorFlowOpLayer",
            "TimeDistributed",
            "Zeros",
        }
    ),
    frozenset({"relu"}),
)


def layer(kind: str, config: Any = None, **more: Any) -> dict[str, Any]:
    """Return a layer as in a config."""
    return {"class_name": kind, "config": {"name": "sly", **(config or {})}, **more}


def function(name: str, module: str | None = "builtins", **more: Any) -> dict[str, Any]:
    """Return a function as in a config."""
    return {"class_name": "function", "config": name, "module": module, **more}


def calling(kind: str, **config: Any) -> dict[str, Any]:
    """Return a layer that calls a function of TensorFlow."""
    return layer(kind, config)


DENSE = layer("Dense", {"activation": "relu"}, module="keras.layers", registered_name=None)
WRITES = {"node_def": {"op": "WriteFile"}}

TAKEN: dict[str, Any] = {
    "own layer": DENSE,
    "no module, as Keras 2 writes HDF5": layer("Dense"),
    "a module inside Keras": layer(
        "Functional", module="keras.src.engine.functional", registered_name="Functional"
    ),
    "the same, as tf_keras writes it": layer("Functional", module="tf_keras.src.engine.functional"),
    "an initializer": {"class_name": "Zeros", "config": {}, "module": "keras.initializers"},
    "an activation": function("relu"),
    "an activation by its module": function("relu", "keras.activations", registered_name="relu"),
    "a call": calling("TFOpLambda", function="math.add"),
    "a call of TensorFlow 1": calling("TFOpLambda", function="compat.v1.nn.relu6"),
    "a slice": calling("SlicingOpLambda", function="__operators__.getitem"),
    "an operation": calling("TensorFlowOpLayer", node_def={"op": "AddV2"}),
    "a tuple": {"class_name": "__tuple__", "items": [1, 2]},
    "a vocabulary": layer("StringLookup", {"vocabulary": ["a"]}),
}

CODE = "holds Python code (Lambda), which is not run"


def not_own(kind: object) -> str:
    """Return the reason for a class that is not known."""
    return f"is of the class {kind!r}, which is not Keras's own"


def more_than_computes(name: object) -> str:
    """Return the reason for a function that is not known."""
    return f"calls TensorFlow's {name!r}, which may do more than compute"


REFUSED: dict[str, tuple[Any, str]] = {
    "Lambda": (layer("Lambda"), CODE),
    "a lambda": ({"class_name": "__lambda__", "config": {"value": "4wAA"}}, CODE),
    "a lambda of Keras 2": ({"function": ["4wAA", None, None], "function_type": "lambda"}, CODE),
    "a pickle": (
        layer("TorchModuleWrapper", module="keras.layers"),
        "holds Python code (TorchModuleWrapper), which is not run",
    ),
    "another model": (layer("TFSMLayer"), "is a TFSMLayer, which could read files or run code"),
    "a method": (
        layer("InstanceMethod"),
        "is a InstanceMethod, which could read files or run code",
    ),
    "columns": (layer("DenseFeatures"), "is a DenseFeatures, which could read files or run code"),
    "own class": (layer("Own"), not_own("Own")),
    "no name": (layer(["Dense"]), not_own(["Dense"])),  # type: ignore[arg-type]  # that is the point
    "another module": (layer("Dense", module="os"), not_own("Dense")),
    "a module called alike": (layer("Dense", module="keras_evil.layers"), not_own("Dense")),
    "helpers of Keras": (layer("Dense", module="keras.src.utils.file_utils"), not_own("Dense")),
    "another registered name": (
        layer("Dense", module="keras.src.layers.core.lambda_layer", registered_name="Lambda"),
        not_own("Dense"),
    ),
    "a package's name": (layer("Dense", registered_name="my>Dense"), not_own("Dense")),
    "a class within": (layer("Dense.Own", module="keras.layers"), not_own("Dense.Own")),
    "a built-in function": (function("eval"), not_own("function")),
    "a function of Keras": (function("get_file", "keras.utils"), not_own("function")),
    "a function elsewhere": (function("relu", "os"), not_own("function")),
    "a function by another name": (
        function("relu", registered_name="get_file"),
        not_own("function"),
    ),
    "a class as a function": (function("Dense"), not_own("function")),
    "a kind of tensors": (
        {"class_name": "__typespec__", "spec_name": "S", "module": "os", "config": []},
        not_own("__typespec__"),
    ),
    "composite tensors": (
        {"class_name": "CompositeTensor", "spec": {}},
        not_own("CompositeTensor"),
    ),
    "a file of words": (
        layer("StringLookup", {"vocabulary": "/etc/passwd"}),
        "reads its vocabulary from a file, which is not part of the model",
    ),
    **{
        name: (calling("TFOpLambda", function=name), more_than_computes(name))
        for name in (
            "io.write_file",
            "io.read_file",
            "compat.v1.write_file",
            "raw_ops.WriteFile",
            "py_function",
            "numpy_function",
            "print",
            "debugging.assert_equal",
            "summary.create_file_writer",
            "nn.fixed_unigram_candidate_sampler",
            "keras.utils.get_file",
            "load_op_library",
        )
    },
    "no function": (calling("SlicingOpLambda"), more_than_computes(None)),
    "an operation": (calling("TensorFlowOpLayer", **WRITES), more_than_computes("WriteFile")),
    "an operation as bytes": (
        calling("TensorFlowOpLayer", node_def="CglXcml0ZUZpbGU="),
        more_than_computes("CglXcml0ZUZpbGU="),
    ),
}


def places(each: Any) -> dict[str, dict[str, Any]]:
    """Return configs that hold *each*, in places that Keras reads or might read."""
    deep: Any = deepcopy(each)
    for _ in range(20):
        deep = layer("TimeDistributed", {"layer": deep})
    return {
        "a layer": {"class_name": "Sequential", "config": {"layers": [DENSE, each]}},
        "old": {"class_name": "Sequential", "config": [each]},
        "wrapped": deep,
        "an activation": layer("Dense", {"activation": each}),
        "a keyword": layer("Functional", {"inbound_nodes": [[["x", 0, 0, {"y": [each]}]]]}),
        "built": layer("Dense", build_config={"input_shape": each}),
    }


@pytest.mark.parametrize("each", list(TAKEN.values()), ids=list(TAKEN))
def test_functions_that_only_compute_are_allowed(each: Any) -> None:
    """Of every release of Keras."""
    for config in places(each).values():
        check_config(Path("m.h5"), config, OWN)


@pytest.mark.parametrize(("each", "reason"), list(REFUSED.values()), ids=list(REFUSED))
def test_every_other_name_is_refused_anywhere_in_the_config(each: Any, reason: str) -> None:
    """In one line that names the layer."""
    for config in places(each).values():
        with pytest.raises(ModelError) as caught:
            check_config(Path("m.h5"), config, OWN)
        assert str(caught.value).startswith("m.h5: ")
        assert str(caught.value).endswith(f" {reason}")
    with pytest.raises(ModelError, match=r"^m\.h5: (the model|layer 'sly') "):
        check_config(Path("m.h5"), places(each)["a layer"], OWN)
