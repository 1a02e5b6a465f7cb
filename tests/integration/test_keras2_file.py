"""Files of Keras 2, written by tf_keras itself: their outputs, and what is refused."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.backends.tensorflow.files.keras_config import objects_of
from tests.integration.keras2_models import IMAGE, KERAS_2_MODELS, built, stack
from tests.integration.keras_models import (
    Arrays,
    answer,
    edit_file,
    refusal,
)
from tests.integration.saved_models import strings

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]


@pytest.fixture(scope="module")
def tf_keras() -> Any:
    """Keras 2."""
    return pytest.importorskip("tf_keras", reason="the extra keras2")


def rows_for(model: Any) -> Arrays:
    """Return rows that *model* takes, by the expected names of its inputs."""
    random = np.random.default_rng(3)
    inputs = model.input if isinstance(model.input, dict) else {}
    named = inputs or {tensor._keras_history.layer.name: tensor for tensor in model.inputs}
    return {
        name: strings("river", "x").reshape(2, 1)
        if tensor.dtype.name == "string"
        else random.normal(1, 2, (2, *tensor.shape[1:])).astype(tensor.dtype.name)
        for name, tensor in named.items()
    }


def answer_of(model: Any, rows: Arrays) -> Arrays:
    """Return the outputs of Keras itself, by the same names; layers run as when serving."""
    import tensorflow as tf

    taken = rows if isinstance(model.input, dict) else list(rows.values())
    packed = taken if len(rows) > 1 else tf.constant(next(iter(rows.values())))
    outputs = model(packed, training=False)
    if not isinstance(outputs, dict):
        names = [tensor._keras_history.layer.name for tensor in model.outputs]
        outputs = dict(zip(names, tf.nest.flatten(outputs), strict=True))
    return {name: each.numpy() for name, each in outputs.items()}


def assert_same(got: Arrays, wanted: Arrays) -> None:
    """Check names and numbers."""
    assert list(got) == sorted(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)


def as_in_tensorflow(config: Any) -> None:
    """Rename the modules as in Keras of TensorFlow 2.13 to 2.15."""
    for each, _ in objects_of(config):
        if "module" in each:
            each["module"] = each["module"].removeprefix("tf_")


def as_older(config: Any) -> None:
    """Remove what Keras before 2.13 did not write."""
    for each, _ in objects_of(config):
        for key in ("module", "registered_name", "build_config"):
            each.pop(key, None)


#: Models that take seconds each to build, to save and to trace.
SLOW = ("attention", "recurrent")

#: For each kind of file, the change to an older form and its version.
OLDER = {".keras": (as_in_tensorflow, "2.15.0"), ".h5": (as_older, "2.4.0")}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] if name in SLOW else [])
        for name in KERAS_2_MODELS
    ],
)
def test_a_file_of_keras_2_answers_as_keras_2(tmp_path: Path, tf_keras: Any, name: str) -> None:
    """By the names of layers or keys; as an archive, as older HDF5, and one in every form."""
    model = built(tf_keras, KERAS_2_MODELS[name])
    rows = rows_for(model)
    expected = answer_of(model, rows)
    for suffix, (change, version) in OLDER.items():
        path = tmp_path / f"model{suffix}"
        if name == "text" and suffix == ".h5":
            continue  # HDF5 holds no vocabulary
        model.save(path)
        if suffix == ".keras" or name == "nested":
            assert_same(answer(path, rows), expected)
        if suffix == ".h5" or name == "nested":
            edit_file(path, change, version=version)
            assert_same(answer(path, rows), expected)


def old_layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    """Return a layer in the form of Keras before 2.4."""
    return {"class_name": kind, "config": {"name": name, **config}}


def old_dense() -> dict[str, Any]:
    """The layers alone, without an input layer."""
    layer = old_layer(
        "Dense",
        "dense_1",
        batch_input_shape=[None, 3],
        dtype="float32",
        units=2,
        activation="hard_sigmoid",
        use_bias=False,
        kernel_initializer={"class_name": "VarianceScaling", "config": {"scale": 1.0}},
    )
    return {"class_name": "Sequential", "config": [layer]}


def old_operation(operation: str = "Mul") -> dict[str, Any]:
    """A call of TensorFlow, as an operation of a graph."""
    node = {
        "name": "mul",
        "op": operation,
        "input": ["x", "y"],
        "attr": {"T": {"type": "DT_FLOAT"}},
    }
    rows = old_layer("InputLayer", "rows", batch_input_shape=[None, 3], dtype="float32")
    call = old_layer("TensorFlowOpLayer", "mul", node_def=node, constants={"1": 2.0})
    layers = [
        {**rows, "name": "rows", "inbound_nodes": []},
        {**call, "name": "tf_op_layer_mul", "inbound_nodes": [[["rows", 0, 0, {}]]]},
    ]
    ends = {"input_layers": [["rows", 0, 0]], "output_layers": [["tf_op_layer_mul", 0, 0]]}
    return {"class_name": "Model", "config": {"name": "model", "layers": layers, **ends}}


def write_old(path: Path, config: dict[str, Any], **kernels: np.ndarray) -> Path:
    """Write a file as Keras 2.2.4 did, with one weight a layer."""
    import h5py  # type: ignore[import-untyped]  # it ships no type information

    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights")
        for each in (file, weights):
            each.attrs.update({"keras_version": "2.2.4", "backend": "tensorflow"})
        file.attrs["model_config"] = json.dumps(config).encode()
        weights.attrs["layer_names"] = np.array([name.encode() for name in kernels], "S20")
        for name, kernel in kernels.items():
            weights[f"{name}/{name}/kernel:0"] = kernel
            weights[name].attrs["weight_names"] = [f"{name}/kernel:0".encode()]
    return path


@pytest.mark.usefixtures("tf_keras")
def test_the_oldest_files_of_keras_2_are_read(tmp_path: Path) -> None:
    """Layers without an input, with the hard_sigmoid of Keras 2; operations of graphs."""
    kernel = np.array([[0.5, -1], [0.25, 2], [1, 0]], np.float32)
    rows = np.array([[1, 2, -1], [0.5, 0, 0.5]], np.float32)
    path = write_old(tmp_path / "dense.h5", old_dense(), dense_1=kernel)
    wanted = np.clip(0.2 * (rows @ kernel) + 0.5, 0, 1)
    assert_same(answer(path, {"dense_1_input": rows}), {"dense_1": wanted})
    path = write_old(tmp_path / "operation.h5", old_operation())
    assert_same(answer(path, {"rows": rows}), {"tf_op_layer_mul": rows * 2})


# --- what is refused


def dense(keras: Any) -> Any:
    """A stack with a layer to change."""
    return stack((3,), lambda layers: layers.Dense(2, name="scores"))(keras)


def lambda_within(keras: Any, written_file: Path) -> Any:
    """Python code in a wrapper in a model in a model."""
    target = str(written_file)

    def write(rows: Any) -> Any:
        Path(target).write_text("x")
        return rows

    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((4, 3)), layers.TimeDistributed(layers.Lambda(write, name="sly"))]
    )
    return keras.Sequential([keras.Input((4, 3)), inner])


def call_with_constants(keras: Any, written_file: Path) -> tuple[Any, Callable[[Any], None]]:
    """A call of TensorFlow that needs no input, and so runs while the file is read."""
    import tensorflow as tf

    rows = keras.Input((3,), name="rows")
    model = keras.Model(rows, tf.add(rows, 1.0))

    def change(config: Any) -> None:
        layer = config["config"]["layers"][1]
        layer["config"]["function"] = "io.write_file"
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(written_file), {"contents": "x"}]]

    return model, change


def test_a_call_that_writes_a_file_is_refused(tmp_path: Path, tf_keras: Any) -> None:
    """Keras itself runs it, even in its safe mode."""
    path, written_file = tmp_path / "model.keras", tmp_path / "written"
    tf_keras.backend.clear_session()
    model, change = call_with_constants(tf_keras, written_file)
    model.save(path)
    edit_file(path, change)
    assert refusal(path) == (
        f"{path}: layer 'tf.math.add' calls TensorFlow's 'io.write_file', "
        "which may do more than compute"
    )
    assert not written_file.exists()
    with suppress(Exception):
        tf_keras.models.load_model(path, compile=False, safe_mode=True)
    assert written_file.exists()


def test_code_within_is_refused(tmp_path: Path, tf_keras: Any) -> None:
    """At any depth."""
    path, written_file = tmp_path / "model.h5", tmp_path / "written"
    lambda_within(tf_keras, written_file).save(path)
    written_file.unlink()
    assert refusal(path) == f"{path}: layer 'sly' holds Python code (Lambda), which is not run"
    assert not written_file.exists()


def write_dense(tf_keras: Any, path: Path, **more: Any) -> Path:
    """Write a file of Keras 2.15, whose layer has *more* in its config."""
    built(tf_keras, dense).save(path)
    edit_file(
        path, lambda config: config["config"]["layers"][1]["config"].update(more), version="2.15.0"
    )
    return path


def test_an_argument_that_keras_2_has_not_is_named(tmp_path: Path, tf_keras: Any) -> None:
    """With the class of the layer."""
    path = write_dense(tf_keras, tmp_path / "model.h5", rows=7)
    assert refusal(path) == (
        f"{path}: Keras cannot load it: ('Keyword argument not understood:', 'rows')"
    )


# --- without tf_keras


OUT = "; pip install 'tf_keras', or export it as a SavedModel with model.export"


def test_without_tf_keras_the_error_states_the_version_and_the_remedy(
    tmp_path: Path, tf_keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the argument that Keras 3 does not take; a file that it reads correctly is served."""
    plain = built(tf_keras, dense)
    plain.save(tmp_path / "plain.h5")
    rows = rows_for(plain)
    depthwise = stack(IMAGE, lambda layers: layers.DepthwiseConv2D(3))
    built(tf_keras, depthwise).save(tmp_path / "depthwise.h5")
    faults = {
        write_dense(tf_keras, tmp_path / "hard.h5", activation="hard_sigmoid"): (
            "a file of Keras 2 (2.15.0), which Keras 3 cannot load: "
            "hard_sigmoid is a different function in Keras 3"
        ),
        tmp_path / "depthwise.h5": (
            f"a file of Keras 2 ({tf_keras.__version__}), which Keras 3 cannot load: "
            "Unrecognized keyword arguments passed to DepthwiseConv2D: {'groups': 1}"
        ),
    }
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    for path, fault in faults.items():
        assert refusal(path) == f"{path}: {fault}{OUT}"
    assert_same(answer(tmp_path / "plain.h5", rows), answer_of(plain, rows))


def test_a_tf_keras_for_another_tensorflow_is_named(
    tmp_path: Path, tf_keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import fails in many ways."""
    path = write_dense(tf_keras, tmp_path / "model.h5")
    (tmp_path / "tf_keras.py").write_text("import sys\nsys.tensorflow")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tf_keras")
    assert refusal(path) == (
        f"{path}: tf_keras cannot be imported: module 'sys' has no attribute 'tensorflow'"
    )
