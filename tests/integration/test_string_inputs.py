"""Models that take one string: an image only where the model decodes it, and reported otherwise."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.errors import ModelError, RowsRefused
from model.signature import STRING
from tests.images import encoded
from tests.integration.graphs import LoadModel
from tests.integration.saving import Write, changed, tf1, tf2

pytestmark = pytest.mark.full

Decode = Callable[[Any, Any], Any]  #: decodes one string to an image
Ask = Callable[[Path, bytes], bytes]  #: the string for an image file, in a folder

RED = encoded(Image.new("RGB", (9, 7), (255, 0, 0)), "PNG")
KEY = "image/encoded"


def one_by_one(decode: Decode) -> Write:
    """Return a function that writes a SavedModel that applies *decode* to each string."""

    def scores(tf: Any, text: Any) -> dict[str, Any]:
        def row(one: Any) -> Any:
            image = tf.io.decode_image(decode(tf, one), channels=3, expand_animations=False)
            return tf.reduce_mean(tf.cast(image, tf.float32), [0, 1])

        return {"scores": tf.map_fn(row, text, fn_output_signature=tf.float32)}

    return tf2(scores, text=("string", (None,)))


def in_example(tf: Any, one: Any) -> Any:
    """Take the image out of a serialized tf.train.Example."""
    return tf.io.parse_single_example(one, {KEY: tf.io.FixedLenFeature((), tf.string)})[KEY]


def example_of(_: Path, data: bytes) -> bytes:
    """Return an Example that holds an image file."""
    import tensorflow as tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    example = tf.train.Example(features=tf.train.Features(feature={KEY: feature}))
    serialized: bytes = example.SerializeToString()
    return serialized


def frozen_example(folder: Path) -> None:
    """Write a frozen graph that takes one Example."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        image = tf.io.decode_jpeg(in_example(tf, tf.placeholder(tf.string, (), name="one")), 3)
        means = tf.reduce_mean(tf.cast(image, tf.float32), [0, 1], name="final_result")
        assert means.shape == (3,)
    folder.mkdir()
    (folder / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())


def in_file(folder: Path, data: bytes) -> bytes:
    """Return the path of an image file."""
    (folder / "image").write_bytes(data)
    return str(folder / "image").encode()


def numbers(tf: Any, text: Any) -> dict[str, Any]:
    """Read numbers, and decode nothing."""
    return {"scores": tf.strings.to_number(text)[:, None] * [[1.0, 0.0, 0.0]]}


def bytes_of(tf: Any, text: Any) -> dict[str, Any]:
    """Read the bytes of a string as levels, and decode nothing."""
    return {"scores": tf.cast(tf.io.decode_raw(text, tf.uint8), tf.float32)}


@dataclass(frozen=True)
class Strings:
    """A model, and the string that it takes for a red image."""

    write: Write
    image: bool  #: whether it takes image files
    ask: Ask | None = None  #: None if it takes the file itself


MODELS = {
    "an image file": Strings(one_by_one(lambda _, one: one), image=True),
    "a BMP file": Strings(
        tf2(
            lambda tf, text: {
                "scores": tf.map_fn(
                    lambda one: tf.reduce_mean(tf.cast(tf.io.decode_bmp(one), tf.float32), [0, 1]),
                    tf.reshape(text, [-1]),
                    fn_output_signature=tf.float32,
                )
            },
            text=("string", (None, 1)),
        ),
        image=True,
        ask=lambda *_: encoded(Image.new("RGB", (9, 7), (255, 0, 0)), "BMP"),
    ),
    "a compressed file": Strings(
        one_by_one(lambda tf, one: tf.io.decode_compressed(one, "ZLIB")),
        image=False,
        ask=lambda _, data: __import__("zlib").compress(data),
    ),
    "an Example": Strings(one_by_one(in_example), image=False, ask=example_of),
    "an Example, frozen": Strings(frozen_example, image=False, ask=example_of),
    "base64": Strings(
        one_by_one(lambda tf, one: tf.io.decode_base64(one)),
        image=False,
        ask=lambda _, data: urlsafe_b64encode(data),
    ),
    "a path": Strings(one_by_one(lambda tf, one: tf.io.read_file(one)), image=False, ask=in_file),
    "a part of a string": Strings(
        one_by_one(lambda tf, one: tf.strings.substr(one, 4, -1)),
        image=False,
        ask=lambda _, data: b"head" + data,
    ),
    "a number": Strings(tf2(numbers, text=("string", (None,))), image=False, ask=lambda *_: b"255"),
    "levels": Strings(
        tf2(bytes_of, text=("string", (None,))), image=False, ask=lambda *_: b"\xff\0\0"
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_string_is_an_image_only_where_the_model_decodes_it(
    tmp_path: Path, load_model: LoadModel, model: Strings
) -> None:
    """Otherwise JSON carries the string; a line reports it if the model decodes images."""
    model.write(tmp_path / "model")
    loaded, lines = load_model(tmp_path / "model")
    assert (loaded.image_input is not None) == model.image
    refusals = [each for each in lines if "is a string, but not an encoded image" in each]
    assert len(refusals) == (loaded.decodes and not model.image)
    (signature,) = loaded.runner.signatures
    data = RED if model.ask is None else model.ask(tmp_path, RED)
    (spec,) = signature.inputs
    feed = signature.feed(
        {spec.name: np.array([data], STRING).reshape([1] * len(spec.shape or ()))}
    )
    np.testing.assert_array_equal(loaded.runner.run(feed)[0].reshape(-1), [255, 0, 0])


def test_labels_want_a_string_that_is_an_image(tmp_path: Path, load_model: LoadModel) -> None:
    """A classifier that takes no images is refused in one line."""
    MODELS["an image file"].write(tmp_path / "images")
    assert load_model(tmp_path / "images", classes=3)[0].image_input is not None
    MODELS["an Example"].write(tmp_path / "examples")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "examples", classes=3)
    (line,) = str(caught.value).splitlines()
    assert "labels are for images, but" in line


@pytest.mark.parametrize(
    "function",
    [numbers, lambda tf, text: {"rows": tf.io.decode_csv(text, [[0.0]])[0]}],
    ids=["to_number", "decode_csv"],
)
def test_an_error_that_quotes_bytes_refuses_the_request(
    tmp_path: Path, load_model: LoadModel, function: Callable[..., Any]
) -> None:
    """Whether TensorFlow can quote them or not."""
    tf2(function, text=("string", (None,)))(tmp_path / "model")
    loaded, _ = load_model(tmp_path / "model")
    (signature,) = loaded.runner.signatures
    for value in (b"abc", b"\xff\xfe", b"caf\xe9"):
        with pytest.raises(RowsRefused) as caught:
            loaded.runner.run(signature.feed({"text": np.array([value], STRING)}))
        (line,) = str(caught.value).splitlines()
        assert value[:2].decode("latin-1") in line or "\\x" in line


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (lambda tf, one: tf.io.read_file(one), b"/no/such/file"),
        (lambda tf, one: tf.io.read_file(one), b"/no/such/\xff"),
        (lambda tf, one: tf.io.decode_compressed(one, "GZIP"), b"not compressed"),
    ],
    ids=["a path", "a path that is no UTF-8", "compressed"],
)
def test_a_string_that_names_no_file_refuses_the_request(
    tmp_path: Path,
    load_model: LoadModel,
    decode: Decode,
    value: bytes,
) -> None:
    """Like a string that is no image."""
    one_by_one(decode)(tmp_path / "model")
    loaded, _ = load_model(tmp_path / "model")
    (signature,) = loaded.runner.signatures
    with pytest.raises(RowsRefused):
        loaded.runner.run(signature.feed({"text": np.array([value], STRING)}))


def calls_python(tf: Any, images: Any) -> dict[str, Any]:
    """Call Python, which the model's file does not hold."""
    scores = tf.numpy_function(lambda x: x.mean((1, 2)), [images], tf.float32)
    return {"scores": tf.ensure_shape(scores, (None, 3))}


def decodes_in_python(tf: Any, text: Any) -> dict[str, Any]:
    """The same, behind an encoded image."""
    image = tf.io.decode_image(text[0], channels=3, expand_animations=False)
    return calls_python(tf, tf.cast(image, tf.float32)[None])


def empty_table(tf: Any) -> Any:
    """Look up a class in a table that nothing fills."""
    images = tf.placeholder("float32", (None, 8, 8, 3), name="images")
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["a"], ["b"]), default_value="c"
    )
    names = table.lookup(tf.as_string(tf.reduce_mean(images, [1, 2, 3])))
    return {"serving_default": ({"images": images}, {"names": names})}


def without_init(graph: Any) -> None:
    """Remove the operations that fill the tables."""
    for key in ("saved_model_main_op", "legacy_init_op"):
        graph.collection_def.pop(key, None)
    graph.signature_def.pop("__saved_model_init_op", None)


def without_python(graph: Any) -> None:
    """Name a Python function that this process does not have, like any other process."""
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.op in ("PyFunc", "EagerPyFunc"):
                node.attr["token"].s = b"pyfunc_of_another_process"


USELESS = {
    "Python inside": changed(
        tf2(calls_python, images=("float32", (None, 8, 8, 3))), without_python
    ),
    "Python behind an image": changed(
        tf2(decodes_in_python, text=("string", (None,))), without_python
    ),
    "a missing table": changed(tf1(empty_table), without_init),
}


@pytest.mark.parametrize("write", USELESS.values(), ids=USELESS)
def test_a_model_that_fails_on_every_image_is_refused_in_one_line(
    tmp_path: Path, load_model: LoadModel, write: Write
) -> None:
    """The error is not the client's."""
    write(tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "model")
    (line,) = str(caught.value).splitlines()
    assert "not find callback" in line or "not initialized" in line
