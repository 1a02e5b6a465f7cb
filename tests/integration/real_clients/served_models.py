"""The models of the server that the clients use, and the server."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from model.repository.labels import LABELS_FILE
from tests.integration.repositories import (
    Repository,
    code_of,
    served_repository,
    with_manifest,
    write_adder,
)
from tests.integration.saved_model_graphs import colour_means
from tests.integration.saved_models import SAVED_MODELS
from tests.integration.saving import Ends, Tensors, Write, tf1, tf2


def half_plus_two(tf: Any) -> Mapping[str, Ends]:
    """The sample model of TensorFlow Serving's documentation: x / 2 + 2, also of a tf.Example."""
    examples = tf.placeholder(tf.string, [None], name="tf_example")
    features = tf.io.parse_example(examples, {"x": tf.FixedLenFeature((1,), tf.float32)})
    x = tf.placeholder(tf.float32, [None], name="x")
    ends = {"inputs": examples}, {"outputs": features["x"] * 0.5 + 2.0}
    return {
        "serving_default": ({"x": x}, {"y": x * 0.5 + 2.0}),
        "tensorflow/serving/regress": ends,
    }


def iris(tf: Any) -> Mapping[str, Ends]:
    """A classifier of four measures, with the names that KServe's documentation uses."""
    measures = tf.placeholder(tf.float32, (None, 4), name="measures")
    is_large = tf.cast(measures[:, 2] > 2.5, tf.int64)
    classes = is_large + tf.cast(measures[:, 3] > 1.7, tf.int64)
    return {"serving_default": ({"input-0": measures}, {"output-0": classes})}


def unchanged(tf: Any, **inputs: Any) -> Tensors:
    """Return each input as an output."""
    return {f"{name}_out": tf.identity(value) for name, value in inputs.items()}


def write_photos(folder: Path) -> None:
    """Write a model of images, with labels: the mean of each colour."""
    tf2(colour_means, image=("uint8", (None, 4, 5, 3)))(folder)
    (folder / LABELS_FILE).write_text("red\ngreen\nblue\n")


MODELS: dict[str, Write] = {
    "half_plus_two": tf1(half_plus_two),
    "iris": tf1(iris),
    "photos": write_photos,
    "several": SAVED_MODELS["several inputs and outputs"].write,
    "types": tf2(
        unchanged,
        half=("float16", (None, 2)),
        brain=("bfloat16", (None, 2)),
        text=("string", (None, 2)),
        flag=("bool", (None, 2)),
        whole=("int64", (None, 2)),
    ),
}

#: Of the models with two versions.
TWO_VERSIONS = """\
versions = "all"
max_batch_size = 8
[labels]
stable = 1
"""


def write_models(root: Path) -> None:
    """Write `MODELS` into the repository *root*; `adder` and `movable` have two versions."""
    for name, write in MODELS.items():
        (root / name).mkdir(parents=True)
        (root / name / "serving.toml").write_text("max_batch_size = 8\n")  # for a short warm-up
        write(root / name / "1")
        with_manifest(root / name / "1")
    for name in ("adder", "movable"):
        (root / name).mkdir()
        (root / name / "serving.toml").write_text(TWO_VERSIONS)
        for version in (1, 2):
            write_adder(root / name / str(version), code_of(0, version))
            with_manifest(root / name / str(version))


@pytest.fixture(scope="package")
def served(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Serve all models; changes need the token."""
    folder = tmp_path_factory.mktemp("real-clients")
    write_models(folder / "models")
    with served_repository(folder, cache_home, token=True) as repository:
        yield repository
