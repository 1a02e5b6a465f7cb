"""The facts in a SavedModel: which graph is for serving, and what its signatures take."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from model.backends.tensorflow.files.saved_model import read_meta_graph, signatures_of
from model.errors import ModelError
from tests.integration.saving import Ends, Write, changed, tf1, tf2

# --- which graph


@pytest.mark.parametrize(
    ("tag_sets", "chosen"),
    [
        (["serve"], "serve"),
        (["train"], "train"),
        (["serve,gpu", "serve", "train"], "serve"),
        (["train", "gpu,serve,v2", "gpu,serve"], "gpu,serve"),
        (["train", "eval"], ["[train], [eval]"]),
        (["gpu,serve", "serve,tpu"], ["[gpu, serve], [serve, tpu]"]),
        ([], ["none"]),
    ],
    ids=str,
)
def test_the_graph_for_serving_is_chosen_by_its_tags(
    tmp_path: Path, tag_sets: list[str], chosen: str | list[str]
) -> None:
    """Without one, a line of the error lists the tags."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved_model = SavedModel()
    for tags in tag_sets:
        saved_model.meta_graphs.add().meta_info_def.tags.extend(tags.split(","))
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    if isinstance(chosen, str):
        assert ",".join(sorted(read_meta_graph(tmp_path).meta_info_def.tags)) == chosen
        return
    with pytest.raises(ModelError) as caught:
        read_meta_graph(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no graph is tagged [serve]: the graphs are {chosen[0]}"
    )


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("saved_model.pb", b"\xff" * 40, "not a SavedModel, or cut short"),
        ("saved_model.pbtxt", b"meta_graphs {", "not a SavedModel, or cut short"),
        ("saved_model.pbtxt", b"\xff\xfe", "not a SavedModel, or cut short"),
        ("other.pb", b"", "saved_model.pb: No such file or directory"),
    ],
)
def test_a_folder_that_is_no_saved_model_is_refused(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    """In one line."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_meta_graph(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert reason in line


# --- signatures


def test_signatures_are_listed_with_the_default_one_first(tmp_path: Path) -> None:
    """Then by name; signatures of the loader and those without outputs are not listed."""

    def build(tf: Any) -> Mapping[str, Ends]:
        x = tf.placeholder(tf.float32, (None, 2), name="x")
        ends = ({"x": x}, {"y": x * 2})
        return {"zoo": ends, "serving_default": ends, "animal": ends, "sink": ({"x": x}, {})}

    tf1(build)(tmp_path / "model")
    signatures, unserved = signatures_of(read_meta_graph(tmp_path / "model"))
    assert [each.name for each in signatures] == ["serving_default", "animal", "zoo"]
    assert unserved == {}


@pytest.mark.parametrize(
    ("side", "alone"),
    [
        ("inputs", "input 'x' is float32 of any shape: its first axis is not of variable size"),
        ("outputs", ""),
    ],
)
def test_a_shape_of_unknown_rank_is_any(tmp_path: Path, side: str, alone: str) -> None:
    """Such an input has no reliable batch axis; that of an output is seen in a run."""

    def forget(graph: Any) -> None:
        (info,) = getattr(graph.signature_def["serving_default"], side).values()
        info.tensor_shape.unknown_rank = True

    changed(tf2(lambda _, x: {"y": x * 2}, x=("float32", (None, 3))), forget)(tmp_path / "model")
    ((signature,), _) = signatures_of(read_meta_graph(tmp_path / "model"))
    (spec,) = getattr(signature, side)
    assert spec.shape is None
    assert signature.alone == alone


@pytest.mark.parametrize("how", ["no shape", "a scalar's"])
@pytest.mark.parametrize("shape", [(None, 3), (None,), None, ()])
def test_a_shape_that_the_signature_lacks_is_the_graphs(
    tmp_path: Path, shape: tuple[int | None, ...] | None, how: str
) -> None:
    """TensorFlow 1 wrote signatures without shapes, which look like those of scalars."""

    def forget(graph: Any) -> None:
        definition = graph.signature_def["serving_default"]
        for info in (*definition.inputs.values(), *definition.outputs.values()):
            info.ClearField("tensor_shape")
            if how == "a scalar's":
                info.tensor_shape.SetInParent()

    def half_plus_three(tf: Any) -> Mapping[str, Ends]:
        x = tf.placeholder("float32", shape, name="x")
        return {"serving_default": ({"x": x}, {"y": x * 0.5 + 3.0})}

    changed(tf1(half_plus_three), forget)(tmp_path / "model")
    ((signature,), _) = signatures_of(read_meta_graph(tmp_path / "model"))
    assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [shape, shape]


def sparse_input(tf: Any) -> Mapping[str, Ends]:
    """A sparse input of TensorFlow 1, with its three tensors."""
    x = tf.sparse_placeholder(tf.float32, (None, 3))
    return {"serving_default": ({"x": x}, {"y": tf.sparse.to_dense(x)})}


def same_tensor_twice(tf: Any) -> Mapping[str, Ends]:
    """One placeholder under two names."""
    x = tf.placeholder(tf.float32, (None, 3))
    return {"serving_default": ({"b": x, "a": x}, {"y": x * 2})}


def doubled(dtype: str) -> Write:
    """Return a model of one input of this type."""
    return tf2(lambda _, x: {"y": x * 2}, x=(dtype, (None, 3)))


def with_info(change: Callable[[Any], object]) -> Write:
    """Return a model with a changed description of its input."""
    return changed(
        doubled("float32"),
        lambda graph: change(graph.signature_def["serving_default"].inputs["x"]),
    )


UNSERVABLE: dict[str, tuple[Write, str]] = {
    "sparse": (
        tf1(sparse_input),
        "input 'x' is several tensors in one: sparse, ragged or the like",
    ),
    "composite": (
        with_info(lambda info: info.composite_tensor.components.add(name="x:0")),
        "input 'x' is several tensors in one: sparse, ragged or the like",
    ),
    "complex": (doubled("complex64"), "input 'x' is complex64, not supported in requests"),
    "quantised": (
        tf2(lambda tf, x: {"y": tf.quantization.dequantize(x, 0, 1)}, x=("quint8", (None, 3))),
        "input 'x' is quint8, not supported in requests",
    ),
    "a resource": (
        tf2(
            lambda tf, x: {"y": tf.raw_ops.ReadVariableOp(resource=x, dtype=tf.float32)},
            x=("resource", ()),
        ),
        "input 'x' is resource, not supported in requests",
    ),
    "of a type to come": (
        with_info(lambda info: setattr(info, "dtype", 99)),
        "input 'x' is of the unknown type 99, not supported in requests",
    ),
    "nameless": (with_info(lambda info: setattr(info, "name", "")), "input 'x' names no tensor"),
    "one tensor twice": (tf1(same_tensor_twice), "inputs 'a' and 'b' are the same tensor"),
}


@pytest.mark.parametrize(("write", "reason"), list(UNSERVABLE.values()), ids=list(UNSERVABLE))
def test_a_signature_that_no_request_can_ask_for_says_why(
    tmp_path: Path, write: Write, reason: str
) -> None:
    """The others are served; without others, the model is refused in one line."""
    write(tmp_path / "model")
    meta_graph = read_meta_graph(tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        signatures_of(meta_graph)
    assert str(caught.value) == f"no signature can be served: 'serving_default': {reason}"
    other = meta_graph.signature_def["other"]
    other.inputs["x"].CopyFrom(tensor_info("in:0"))
    other.outputs["y"].CopyFrom(tensor_info("out:0"))
    signatures, unserved = signatures_of(meta_graph)
    assert [each.name for each in signatures] == ["other"]
    assert unserved == {"serving_default": reason}


def tensor_info(name: str) -> Any:
    """Return the description of a tensor of floats."""
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

    return TensorInfo(name=name, dtype=1)


def test_a_saved_model_without_signatures_is_refused(tmp_path: Path) -> None:
    """Such as a saved module without signatures."""
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    with pytest.raises(ModelError, match=r"^no signature can be served: there is none$"):
        signatures_of(read_meta_graph(tmp_path / "model"))
