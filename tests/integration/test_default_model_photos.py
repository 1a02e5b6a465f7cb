"""The default model as it is converted: its graph, its labels, and its place in the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.backends.tensorflow.default_model.efficientnet_lite import build_frozen_graph
from model.backends.tensorflow.default_model.source import (
    GRAPH_FILE,
    ensure_default_model,
    installed_weights_file,
)
from model.backends.tensorflow.default_model.torch_file import read_torch_file
from model.repository.cache import CachedModel, CacheFolder
from model.repository.labels import LABELS_FILE


@pytest.fixture(scope="module")
def converted(cache_home: Path) -> CachedModel:
    """The model in the cache of the servers."""
    return ensure_default_model(CacheFolder(cache_home / "tensorferry"), lambda _: None)


def test_the_graph_takes_uint8_and_holds_neither_variable_nor_norm(converted: CachedModel) -> None:
    """And the same weights make the same bytes, so that two machines can compare them."""
    import tensorflow.compat.v1 as tf

    data = (converted.path / GRAPH_FILE).read_bytes()
    nodes = {node.name: node for node in tf.GraphDef.FromString(data).node}
    assert nodes["input"].attr["dtype"].type == tf.uint8.as_datatype_enum
    assert [size.size for size in nodes["input"].attr["shape"].shape.dim] == [-1, 224, 224, 3]
    assert (nodes["final_result"].op, nodes["bottleneck"].op) == ("Softmax", "Mean")
    assert {node.op for node in nodes.values()} == {
        "AddV2", "BiasAdd", "Cast", "Const", "Conv2D", "DepthwiseConv2dNative", "MatMul", "Mean",
        "Placeholder", "RealDiv", "Relu6", "Softmax", "Sub",
    }  # fmt: skip
    assert build_frozen_graph(read_torch_file(installed_weights_file().read_bytes())) == data


def test_the_labels_are_the_names_that_people_expect(converted: CachedModel) -> None:
    """A thousand lines, and some of them known by their number."""
    names = (converted.path / LABELS_FILE).read_text().splitlines()
    assert len(names) == 1000
    known = {0: "tench", 207: "golden retriever", 340: "zebra", 504: "coffee mug"}
    known |= {817: "sports car", 967: "espresso", 999: "toilet tissue"}
    assert {index: names[index] for index in known} == known


def test_a_second_process_finds_the_model_without_tensorflow(
    converted: CachedModel, cache_home: Path
) -> None:
    """It prints no progress, converts nothing and does not import TensorFlow."""
    program = """
import sys
from model.backends.tensorflow.default_model.source import ensure_default_model
from model.repository.cache import user_cache_folder

print(ensure_default_model(user_cache_folder(), print).path)
sys.exit("tensorflow" in sys.modules)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache_home)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{converted.path}\n"
