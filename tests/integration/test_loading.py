"""Models of any kind, loaded and tried: TensorFlow's loading.py."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batcher.errors import OutOfMemory
from model.backend import LoadedModel
from model.backends.tensorflow.session import LoadedGraph, SessionRunner
from model.errors import ModelError
from model.images.errors import TooManyPixels
from model.images.facts import ImageFacts
from model.repository.model_kind import ModelFiles, ModelKind, find_model
from model.repository.model_toml import ModelFacts, read_model_toml
from model.signature import STRING, Arrays, Feed
from server.api.json_tensors import arrays_of, parse_request
from server.api.samples import sample_feed, sample_request
from tests.images import claims, coloured, encoded
from tests.integration.graphs import Graphs, image_input, load_files
from tests.integration.saving import Tensors, Write, tf2
from tests.integration.scalar_graphs import SMALL, any_decoded, chain, contents, dense, resized
from tests.integration.scalar_graphs import part_of as scalar_part

pytestmark = pytest.mark.full

IMAGE = coloured(20, 16)
TOO_LARGE = claims("PNG", 30_000, 30_000)

Load = Callable[..., LoadedModel]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Writes a SavedModel and loads it, and closes it after the test."""
    loaded: list[LoadedModel] = []

    def load(write: Write, classes: int = 0, max_pixels: int = 10**6, **facts: Any) -> LoadedModel:
        folder = tmp_path / "saved"
        if not folder.exists():
            write(folder)
        files = ModelFiles(ModelKind.SAVED_MODEL, folder, folder)
        one = load_files(files, ModelFacts(**facts), classes=classes, max_pixels=max_pixels)
        loaded.append(one)
        return one

    yield load
    for each in loaded:
        each.runner.close()


def refusal(load: Load, write: Write, **given: Any) -> str:
    """Return the error of loading it, one line."""
    with pytest.raises(ModelError) as caught:
        load(write, **given)
    (line,) = str(caught.value).splitlines()
    return line


def outputs(**columns: int) -> Write:
    """Return a SavedModel of images with outputs of so many columns, filled with that number."""

    def call(tf: Any, image: Any) -> Tensors:
        mean = tf.reduce_mean(image, axis=[1, 2, 3])[:, None]
        return {name: mean * 0 + tf.ones((1, count)) * count for name, count in columns.items()}

    return tf2(call, image=("float32", (None, 4, 5, 3)))


# --- the scores


@pytest.mark.parametrize(
    ("columns", "classes", "output", "chosen"),
    [
        ({"a": 7, "b": 3}, 3, None, "b"),
        ({"a": 3, "b": 3}, 3, "b:0", "b"),
        ({"a": 3, "b": 3}, 0, None, "a"),
    ],
)
def test_the_scores_are_the_output_named_or_that_with_one_for_each_label(
    load: Load, columns: dict[str, int], classes: int, output: str | None, chosen: str
) -> None:
    """Without labels the first output will do."""
    loaded = load(outputs(**columns), classes, output=output)
    images = loaded.image_input
    assert images is not None
    assert images.signature.outputs[images.scores].name == chosen
    given = loaded.runner.run(images.feed(encoded(coloured(5, 4), "PNG")))
    assert given[images.scores].tolist() == [[columns[chosen]] * columns[chosen]]


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"a": 3, "b": 3}, {"classes": 3}, "--output-layer is needed: the outputs are a, b"),
        ({"a": 3, "b": 4}, {"classes": 5}, "--output-layer is needed: the outputs are a, b"),
        (
            {"a": 3, "b": 4},
            {"classes": 3, "output": "b"},
            "'b' gives [1, 4] for 1 row, but the number of labels is 3: expected [1, 3]",
        ),
        ({"a": 3}, {"classes": 3, "output": "c"}, "has no output 'c'; it has a"),
        (
            {"a": 3},
            {"signature": "predict"},
            "no signature 'predict'; similar names: serving_default",
        ),
    ],
)
def test_an_ambiguous_scores_output_is_refused(
    load: Load, columns: dict[str, int], given: dict[str, Any], message: str
) -> None:
    """The error lists the outputs."""
    assert refusal(load, outputs(**columns), **given).endswith(message)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tf, means: tf.strings.as_string(means), "'scores' gives string, expected numbers"),
        (lambda tf, means: tf.math.is_finite(means), "'scores' gives bool, expected numbers"),
        (
            lambda tf, means: tf.expand_dims(means, 2),
            "'scores' gives [1, 3, 1] for 1 row, but the number of labels is 3",
        ),
        (
            lambda tf, means: tf.concat([means, means], 0),
            "'scores' gives [2, 3] for 1 row, but the number of labels is 3",
        ),
        (lambda tf, means: tf.expand_dims(means, 1), None),
        (lambda tf, means: tf.reduce_mean(means, 0), None),
    ],
    ids=["strings", "true or false", "behind", "two rows", "between", "no rows"],
)
def test_scores_are_numbers_one_for_each_label(
    load: Load, function: Callable[[Any, Any], Any], message: str | None
) -> None:
    """With any axes of 1 before the labels, or none where it runs one image at a time."""

    def call(tf: Any, image: Any) -> Tensors:
        return {"scores": function(tf, tf.reduce_mean(image, axis=[1, 2]))}

    write = tf2(call, image=("float32", (None, 4, 5, 3)))
    if message is None:
        assert load(write, 3).image_input is not None
    else:
        assert message in refusal(load, write, classes=3)


def test_labels_want_images(load: Load) -> None:
    """The line names all inputs, where there are several."""

    def call(tf: Any, image: Any, weight: Any) -> Tensors:
        return {"scores": tf.reduce_mean(image, axis=[1, 2]) * weight}

    write = tf2(call, image=("float32", (None, 4, 5, 3)), weight=("float32", (None, 1)))
    assert refusal(load, write, classes=3).startswith(
        "labels are for images, but 'image' is float32[?, 4, 5, 3], 'weight' is float32[?, 1]: "
        "expected [rows, height, width, 3] of uint8 or floats, of a size that the model or "
        "--input-height and --input-width give, or encoded images"
    )
    assert load(write).image_input is None


# --- sample rows


def test_each_signature_has_a_sample_row(load: Load) -> None:
    """An image where the signature takes images, else zeros."""
    loaded = load(outputs(scores=3))
    assert [each.name for each in loaded.runner.signatures] == [
        "serving_default",
        "serving_default:pixels",
    ]
    assert loaded.signatures == loaded.runner.signatures
    assert set(loaded.samples) == {"serving_default", "serving_default:pixels"}
    for name, feed in loaded.samples.items():
        assert feed.signature.name == name
        assert feed.rows == 1
        loaded.runner.run(feed)
    assert not loaded.samples["serving_default"].arrays[0].any()
    assert loaded.samples["serving_default:pixels"].arrays[0].any()


@pytest.mark.parametrize("max_pixels", [10**6, 1])
def test_a_graph_that_was_cut_is_measured_with_an_image(tmp_path: Path, max_pixels: int) -> None:
    """Or with zeros, where every probe image exceeds max_pixels."""
    parts = (
        contents,
        any_decoded,
        resized(64),
        *SMALL,
        scalar_part("reduce_mean", axis=[1, 2]),
        dense(3),
    )
    path = Graphs(tmp_path).write(chain(*parts))
    files = ModelFiles(ModelKind.FROZEN_GRAPH, path, tmp_path)
    loaded = load_files(files, classes=3, max_pixels=max_pixels)
    try:
        asked, rows = loaded.signatures
        assert (asked.name, rows.name) == ("serving_default", "serving_default:rows")
        assert loaded.image_input is not None
        assert loaded.image_input.requested == asked
        feed = loaded.samples[rows.name]
        assert bool(feed.arrays[0].any()) == (max_pixels > 1)
        assert len(loaded.runner.run(feed)[0]) == 1
    finally:
        loaded.runner.close()


def decoding(tf: Any, image_bytes: Any) -> Tensors:
    """Score encoded images, as models for TensorFlow Serving do."""

    def row(data: Any) -> Any:
        return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(data, channels=3), tf.float32), [0, 1])

    return {"scores": tf.map_fn(row, image_bytes, fn_output_signature=tf.float32)}


def test_the_sample_of_a_model_that_decodes_is_answered(load: Load) -> None:
    """As shown in the status; an image that is too large is refused before it is decoded."""
    loaded = load(tf2(decoding, image_bytes=("string", (None,))), 3)
    (signature,) = loaded.signatures
    images = loaded.image_input
    assert images is not None
    assert images.signature is images.encoded is signature
    assert loaded.samples[signature.name].arrays[0].tolist() != [b""]
    shown = sample_feed(signature, images, loaded.samples)
    assert isinstance(shown, Feed)
    sample = sample_request(shown, signature.name)
    feed = signature.feed(arrays_of(signature, parse_request(sample.encode())[1]))
    assert loaded.runner.run(images.feed_encoded(feed))[0].tolist() == [[255, 255, 255]]
    with pytest.raises(TooManyPixels):
        images.feed_encoded(signature.feed({"image_bytes": np.array([TOO_LARGE], STRING)}))


@pytest.mark.parametrize(("kind", "error"), [("frozen", OutOfMemory(1)), ("saved", "tensorflow")])
def test_a_model_that_cannot_run_an_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: Exception | str
) -> None:
    """No request with an image could succeed; the Session is closed."""
    import tensorflow.compat.v1 as tf

    raised = tf.errors.InternalError(None, None, "no kernel") if error == "tensorflow" else error
    message = "no kernel" if error == "tensorflow" else str(error)

    def fail(*_: object) -> Arrays:
        assert isinstance(raised, Exception)
        raise raised

    closed: list[LoadedGraph] = []

    def close(graph: LoadedGraph) -> None:
        closed.append(graph)

    path = tmp_path / "saved"
    if kind == "saved":
        outputs(scores=3)(path)
    else:
        path = Graphs(tmp_path).write(image_input())
    with monkeypatch.context() as patched:
        patched.setattr(SessionRunner, "run", fail)
        patched.setattr(LoadedGraph, "close", close)
        files = find_model(path)
        with pytest.raises(ModelError) as caught:
            load_files(files, classes=3, max_pixels=100)
    assert str(caught.value) == f"{path}: a run of one row failed: {message}"
    (graph,) = closed
    graph.close()


@pytest.mark.parametrize("error", [ModelError("no"), MemoryError()])
def test_the_session_is_closed_after_any_error(
    load: Load, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Otherwise the memory of the device would stay in use."""
    closed: list[LoadedGraph] = []

    def fail(*_: object) -> Arrays:
        raise error

    def close(graph: LoadedGraph) -> None:
        closed.append(graph)

    with monkeypatch.context() as patched:
        patched.setattr(SessionRunner, "run", fail)
        patched.setattr(LoadedGraph, "close", close)
        with pytest.raises(type(error)):
            load(outputs(scores=3), 3)
    (graph,) = closed
    graph.close()


def test_no_trial_graph_stays_in_memory(tmp_path: Path) -> None:
    """Only the graphs that are served stay: each trial graph holds a copy of all weights."""
    import tensorflow.compat.v1 as tf

    def graphs() -> int:
        return sum(isinstance(each, tf.Graph) for each in gc.get_objects())

    parts = (contents, any_decoded, resized(64), *SMALL, scalar_part("reshape", [1, 128]), dense(3))
    path = Graphs(tmp_path).write(chain(*parts))
    files = ModelFiles(ModelKind.FROZEN_GRAPH, path, tmp_path)
    gc.collect()
    before = graphs()
    loaded = load_files(files, classes=3)
    try:
        assert loaded.image_input is not None
        assert loaded.image_input.encoded != loaded.image_input.signature
        assert graphs() - before == 2
    finally:
        loaded.runner.close()


# --- the fingerprint


def test_the_fingerprint_differs_between_saved_models(load: Load, tmp_path: Path) -> None:
    """By their graph, the facts about them and the sizes of their weights, not the values."""
    write = outputs(scores=3)
    before = load(write).runner.fingerprint
    facts = ImageFacts(scale=(1.0, 1.0, 1.0))
    assert load(write, preprocessing=facts).runner.fingerprint != before
    folder = tmp_path / "saved"
    weights = folder / "variables" / "variables.data-00000-of-00001"
    data = weights.read_bytes()
    weights.write_bytes(data[::-1])
    (folder / "model.toml").write_text("top_k = 3")
    assert load(write).runner.fingerprint == before
    weights.write_bytes(data + b"\0")
    assert load(write).runner.fingerprint != before
    weights.write_bytes(data)
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes() + b"\x08\x01")
    assert load(write).runner.fingerprint != before


# --- model.toml


@pytest.mark.parametrize(("dtype", "order"), [("float32", "bgr"), ("uint8", "rgb")])
def test_the_facts_about_images_are_applied(tmp_path: Path, dtype: str, order: str) -> None:
    """Crop and filter before the batch; order, mean and scale, by channel, inside the graph."""
    (tmp_path / "model.toml").write_text(
        f"""
        [preprocessing]
        height = 4
        width = 4
        crop = 0.5
        resample = "nearest"
        colour_order = "{order}"
        mean = [10, 20, 30]
        scale = [0.5, 0.25, 0.125]
        """
    )
    path = Graphs(tmp_path).write(image_input(dtype, (None, None, None, 3)))
    files = ModelFiles(ModelKind.FROZEN_GRAPH, path, tmp_path)
    loaded = load_files(files, read_model_toml(tmp_path), classes=3)
    try:
        assert loaded.image_input is not None
        feed = loaded.image_input.feed(encoded(IMAGE, "PNG"))
        (pixels,) = feed.arrays
        # The middle 8 x 8; the filter takes the second pixel of each pair.
        expected = np.asarray(IMAGE)[4:12, 6:14][1::2, 1::2]
        np.testing.assert_array_equal(pixels[0], expected)
        channels = expected if order == "rgb" else expected[..., ::-1]
        if dtype == "float32":
            channels = (channels - np.array([10.0, 20, 30])) * [0.5, 0.25, 0.125]
        (scores,) = loaded.runner.run(feed)
        np.testing.assert_allclose(scores[0], channels.mean(axis=(0, 1)), rtol=1e-5)
    finally:
        loaded.runner.close()
