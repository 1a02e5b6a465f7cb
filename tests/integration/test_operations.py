"""Operations with side effects: found anywhere in a graph, and only those."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from model.backends.tensorflow.files.saved_model import read_meta_graph
from model.backends.tensorflow.operations import RISKY_OPERATION, risky_operations
from tests.integration.saving import Ends, Tensors, Write, tf1, tf2
from tests.integration.servers import ROOT

#: Operations of TensorFlow that the pattern must find, without version suffixes.
RISKY = set((ROOT / "tests" / "data" / "risky_operations.txt").read_text().split())


def test_the_pattern_finds_these_of_tensorflows_operations() -> None:
    """And no others of the registry."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    registry = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    names = [operation.name for operation in OpList.FromString(registry).op]
    found = {name for name in names if RISKY_OPERATION.fullmatch(name)}
    assert {name.rstrip("234").removesuffix("V") for name in found} == RISKY


# --- where they are found


def reads_a_file(tf: Any, path: Any) -> Tensors:
    """Read the files that a request names."""
    return {"content": tf.map_fn(tf.io.read_file, path)}


def branches(tf: Any, path: Any) -> Tensors:
    """Read a file in one branch of two, in a loop."""

    def content(name: Any) -> Any:
        return tf.cond(tf.equal(name, ""), lambda: name, lambda: tf.io.read_file(name))

    return {"content": tf.map_fn(content, path)}


def of_a_data_set(tf: Any, path: Any) -> Tensors:
    """Read the first line of a file."""
    return {"line": tf.data.TextLineDataset(path).take(1).get_single_element()[None]}


def python_function(tf: Any, path: Any) -> Tensors:
    """Call Python, which a SavedModel names but does not hold."""
    return {"path": tf.numpy_function(lambda path: path, [path], tf.string)}


def prints(stream: object) -> Callable[..., Tensors]:
    """Return a function that prints into *stream*."""

    def function(tf: Any, path: Any) -> Tensors:
        with tf.control_dependencies([tf.print(path, output_stream=stream)]):
            return {"path": tf.identity(path)}

    return function


def graph_with(build: Callable[[Any, Any], Any]) -> Write:
    """Return a model of TensorFlow 1 whose output is *build* of its input."""

    def ends(tf: Any) -> Mapping[str, Ends]:
        path = tf.placeholder(tf.string, (), name="path")
        return {"serving_default": ({"path": path}, {"content": build(tf, path)})}

    return tf1(ends)


def beside(tf: Any, path: Any) -> Any:
    """Read a file that no output depends on."""
    tf.io.read_file(path, name="ReadFile")
    return tf.identity(path)


def behind_a_control_edge(tf: Any, path: Any) -> Any:
    """Write a file before the answer."""
    with tf.control_dependencies([tf.io.write_file(path, "", name="WriteFile")]):
        return tf.identity(path)


PATHS = {"path": ("string", [None])}

FOUND: dict[str, tuple[Write, list[str]]] = {
    "in the graph": (graph_with(lambda tf, path: tf.io.read_file(path)), ["ReadFile"]),
    "behind a control edge": (graph_with(behind_a_control_edge), ["WriteFile"]),
    "where no output needs it": (graph_with(beside), []),
    "in a function": (tf2(reads_a_file, **PATHS), ["ReadFile"]),
    "in a branch of a loop": (tf2(branches, **PATHS), ["ReadFile"]),
    "a data set": (tf2(of_a_data_set, **PATHS), ["TextLineDataset"]),
    "Python": (tf2(python_function, **PATHS), ["PyFunc"]),
    "to a file": (tf2(prints("file://log"), **PATHS), ["PrintV2"]),
}


def found(folder: Path) -> list[tuple[str, str]]:
    """Return the risky operations that the outputs of all signatures in *folder* depend on."""
    graph = read_meta_graph(folder)
    definitions = graph.signature_def.values()
    outputs = [info.name for each in definitions for info in each.outputs.values()]
    return risky_operations(graph, outputs)


@pytest.mark.parametrize(("write", "operations"), list(FOUND.values()), ids=list(FOUND))
def test_risky_operations_are_found_where_the_outputs_depend_on_them(
    tmp_path: Path, write: Write, operations: list[str]
) -> None:
    """Through functions, branches, loops and control edges."""
    write(tmp_path / "model")
    assert [operation for operation, _ in found(tmp_path / "model")] == operations


def test_printing_is_no_risk(tmp_path: Path) -> None:
    """Unless it is into a file."""
    tf2(prints(sys.stderr), **PATHS)(tmp_path / "model")
    assert found(tmp_path / "model") == []


def test_what_runs_when_a_model_is_loaded_counts(tmp_path: Path) -> None:
    """Its init op, of TensorFlow 1 by any of its names and of TensorFlow 2."""
    import tensorflow.compat.v1 as tf

    def build(tf: Any) -> Mapping[str, Ends]:
        x = tf.placeholder(tf.float32, (None, 3))
        tf.io.write_file("file", "", name="owned")
        return {"serving_default": ({"x": x}, {"y": x * 2})}

    tf1(build)(tmp_path / "model")
    graph = read_meta_graph(tmp_path / "model")
    del graph.collection_def["saved_model_main_op"]
    assert risky_operations(graph, ["mul:0"]) == []
    for key in ("saved_model_main_op", "legacy_init_op"):
        of_one = tf.MetaGraphDef.FromString(graph.SerializeToString())
        of_one.collection_def[key].node_list.value.append("owned")
        assert risky_operations(of_one, ["mul:0"]) == [("WriteFile", "owned")]
    graph.signature_def["__saved_model_init_op"].outputs["op"].name = "owned"
    assert risky_operations(graph, ["mul:0"]) == [("WriteFile", "owned")]


def test_a_frozen_graph_is_searched_as_well() -> None:
    """From the served output; the result names the node."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        tf.io.read_file(tf.placeholder(tf.string, (), name="path"), name="content")
        tf.constant(1, name="one")
    graph_def = graph.as_graph_def()
    assert risky_operations(graph_def, ["content:0"]) == [("ReadFile", "content")]
    assert risky_operations(graph_def, ["one"]) == []


def test_a_function_that_calls_itself_is_searched_once() -> None:
    """And its nodes are named with its name."""
    import tensorflow.compat.v1 as tf

    graph = tf.GraphDef()
    function = graph.library.function.add()
    function.signature.name = "again"
    function.node_def.add(name="call", op="again")
    function.node_def.add(name="read", op="ReadFile")
    graph.node.add(name="start", op="again")
    assert risky_operations(graph, ["start:0"]) == [("ReadFile", "again/read")]
