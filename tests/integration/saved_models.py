"""
SavedModels for the tests with TensorFlow, made by common means, and their outputs.

`SAVED_MODELS` is the table: how each is written, one request, and its outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from PIL import Image

from model.signature import STRING
from tests.images import encoded
from tests.integration.saving import Ends, Tensors, Write, edit, save_functions, tf1, tf2


@dataclass(frozen=True)
class Served:
    """A SavedModel, a request to it, and the outputs."""

    write: Write
    feed: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    signature: str = "serving_default"
    alone: bool = False  #: whether its feeds cannot share a run
    kind: str = "SavedModel"
    suffix: str = ""  #: of its file, where it is no folder


# --- the graphs


def write_affine(folder: Path) -> None:
    """A model with variables, like a trained one."""
    import tensorflow as tf

    weights, bias = tf.Variable(WEIGHTS), tf.Variable(BIAS)
    save_functions(
        folder,
        {"serving_default": (lambda x: {"y": x @ weights + bias}, {"x": ("float32", (None, 3))})},
        weights=weights,
        bias=bias,
    )


def write_several_signatures(folder: Path) -> None:
    """One variable, and a tensor for each signature's input."""
    import tensorflow as tf

    scale = tf.Variable(3.0)
    rows = {"x": ("float32", (None, 2))}
    save_functions(
        folder,
        {
            "serving_default": (lambda x: {"y": x * scale}, rows),
            "sums": (lambda x: {"sum": tf.reduce_sum(x, axis=1)}, rows),
        },
        scale=scale,
    )


def several_signatures(tf: Any) -> Mapping[str, Ends]:
    """All of them share the tensor of their input."""
    x = tf.placeholder(tf.float32, (None, 2), name="x")
    scaled = x * tf.get_variable("scale", initializer=3.0)
    return {
        "serving_default": ({"x": x}, {"y": scaled}),
        "sums": ({"rows": x}, {"sum": tf.reduce_sum(x, axis=1)}),
    }


def write_vocabulary(folder: Path) -> None:
    """The words are in a file, which becomes an asset of the model."""
    import tensorflow as tf

    words = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            vocabulary_beside(folder),
            *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        ),
        num_oov_buckets=1,
    )
    save_functions(
        folder,
        {
            "serving_default": (
                lambda word: {"id": words.lookup(word)},
                {"word": ("string", [None])},
            )
        },
        words=words,
    )
    vocabulary_beside(folder).unlink()


def vocabulary_beside(folder: Path) -> Path:
    """Return a file of two words, which is needed only to make a model."""
    path = folder.with_suffix(".txt")
    path.write_text("ferry\nriver\n", "utf-8")
    return path


def tf1_vocabulary(init_op: str) -> Write:
    """Return a writer of such a model with TensorFlow 1, whose *init_op* fills the table."""

    def write(folder: Path) -> None:
        def build(tf: Any) -> Mapping[str, Ends]:
            initializer = tf.lookup.TextFileInitializer(
                str(vocabulary_beside(folder)),
                *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
                *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
            )
            words = tf.lookup.StaticHashTable(initializer, default_value=2)
            word = tf.placeholder(tf.string, [None])
            return {"serving_default": ({"word": word}, {"id": words.lookup(word)})}

        tf1(build)(folder)
        if init_op == "legacy_init_op":
            edit(folder, make_init_op_legacy)
        vocabulary_beside(folder).unlink()

    return write


def make_init_op_legacy(graph: Any) -> None:
    """Name the init op as the first SavedModels did."""
    graph.collection_def["legacy_init_op"].CopyFrom(graph.collection_def["saved_model_main_op"])
    del graph.collection_def["saved_model_main_op"]


def keyword_inputs(tf: Any) -> Mapping[str, Ends]:
    """Names that no argument of a Python function can have."""
    first, second = (tf.placeholder(tf.float32, (None,)) for _ in range(2))
    return {"serving_default": ({"class": first, "in": second}, {"for": first - second})}


def reference_variables(tf: Any) -> Mapping[str, Ends]:
    """Reference variables, as before resource variables; one is an output itself."""
    x = tf.placeholder(tf.float32, (None, 2))
    scale = tf.Variable(SCALE, use_resource=False)
    return {"serving_default": ({"x": x}, {"scale": scale, "y": x * scale})}


def fed_reference(tf: Any) -> Mapping[str, Ends]:
    """A variable that can be fed in place of its value."""
    x = tf.placeholder(tf.float32, (None, 2))
    scale = tf.Variable(SCALE, use_resource=False)
    return {"serving_default": ({"scale": scale, "x": x}, {"y": x * scale})}


def passed_through(tf: Any) -> Mapping[str, Ends]:
    """An output that is the input."""
    x = tf.placeholder(tf.float32, (None, 2))
    return {"serving_default": ({"key": x}, {"key": x, "twice": x * 2})}


def any_shape(tf: Any) -> Mapping[str, Ends]:
    """An input of which only the dtype is known."""
    x = tf.placeholder(tf.float32)
    return {"serving_default": ({"x": x}, {"size": tf.size(x), "y": x * 2})}


def different_rows(tf: Any) -> Mapping[str, Ends]:
    """An output with one row for each different row of the feed."""
    x = tf.placeholder(tf.float32, [None])
    return {"serving_default": ({"x": x}, {"y": tf.unique(x).y})}


def sum_of_unknown_shape(tf: Any) -> Mapping[str, Ends]:
    """An output whose first axis could be rows: the graph does not state its shape."""
    x = tf.placeholder(tf.float32, (None, 2))
    total = tf.placeholder_with_default(tf.reduce_sum(x), None)
    return {"serving_default": ({"x": x}, {"sum": total})}


def with_default(tf: Any) -> Mapping[str, Ends]:
    """An input with a default in the graph."""
    x = tf.placeholder_with_default([[1.0, 2.0]], (None, 2))
    return {"serving_default": ({"x": x}, {"y": x * 2})}


def example_parser(tf: Any) -> Mapping[str, Ends]:
    """A model of an Estimator: each row is a serialised tf.Example."""
    examples = tf.placeholder(tf.string, [None], name="input_example_tensor")
    features = tf.io.parse_example(
        examples, {"x": tf.FixedLenFeature((2,), tf.float32), "k": tf.FixedLenFeature((), tf.int64)}
    )
    scores = features["x"] * tf.get_variable("scale", initializer=3.0)
    return {"serving_default": ({"examples": examples}, {"k": features["k"], "scores": scores})}


def example(x: tuple[float, float], k: int) -> bytes:
    """Return a tf.Example with these features, serialised."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def feature(name: bytes, kind: int, numbers: bytes) -> bytes:
        return field(1, field(1, name) + field(2, field(kind, field(1, numbers))))

    return field(
        1, feature(b"x", 2, np.array(x, np.float32).tobytes()) + feature(b"k", 3, bytes([k]))
    )


def colour_means(tf: Any, **image: Any) -> Tensors:
    """Score each colour by its mean."""
    (pixels,) = image.values()
    return {"scores": tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2])}


def decoded_means(tf: Any, image_bytes: Any) -> Tensors:
    """Decode each row, a PNG of any size, and score each colour by its mean."""

    def decoded(data: Any) -> Any:
        pixels = tf.image.resize(tf.io.decode_png(data, channels=3), (4, 5), "nearest")
        return tf.cast(tf.ensure_shape(pixels, (4, 5, 3)), tf.float32)

    return colour_means(tf, pixels=tf.map_fn(decoded, image_bytes, fn_output_signature=tf.float32))


def write_keras(folder: Path) -> None:
    """A model that Keras writes for serving."""
    import tensorflow as tf

    row = tf.keras.Input((3,), name="row")
    layer = tf.keras.layers.Dense(2, name="scores")
    model = tf.keras.Model(row, layer(row))
    layer.set_weights([WEIGHTS, np.zeros(2, np.float32)])
    model.export(str(folder), verbose=False)


# --- the table


def strings(*words: str) -> np.ndarray:
    """Return *words* as an array of strings."""
    return np.array([word.encode() for word in words], STRING)


WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
BIAS = np.array([0.5, -1], np.float32)
SCALE = np.array([2, 3], np.float32)
#: Some of them are numbers that float64 cannot represent.
SIGNED = np.array([2**53 + 1, -(2**63), 2**63 - 1], np.int64)
UNSIGNED = np.array([2**53 + 2, 1, 2**64 - 1], np.uint64)

ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
PAIRS = ROWS[:, :2]
PIXELS = np.random.default_rng(7).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
MEANS = PIXELS.astype(np.float64).mean(axis=(1, 2)).astype(np.float32)

SAVED_MODELS: dict[str, Served] = {
    "affine": Served(write_affine, {"x": ROWS}, {"y": ROWS @ WEIGHTS + BIAS}),
    "several inputs and outputs": Served(
        tf2(
            lambda tf, b, a: {"sum": a + tf.cast(b, tf.float32)[:, None], "product": a[:, 0] * 2},
            b=("int32", [None]),
            a=("float32", (None, 2)),
        ),
        {"a": PAIRS, "b": np.array([10, 20], np.int32)},
        {"product": PAIRS[:, 0] * 2, "sum": PAIRS + np.array([[10], [20]], np.float32)},
    ),
    "int64 lookup": Served(
        tf2(
            lambda tf, key: {"value": tf.gather(tf.constant([[1.5], [2.5], [3.5]]), key)},
            key=("int64", [None]),
        ),
        {"key": np.array([2, 0], np.int64)},
        {"value": np.array([[3.5], [1.5]], np.float32)},
    ),
    "bool mask": Served(
        tf2(
            lambda tf, x, keep: {"x": tf.where(keep, x, 0.0), "none": ~tf.reduce_any(keep, 1)},
            x=("float32", (None, 2)),
            keep=("bool", (None, 2)),
        ),
        {"x": PAIRS, "keep": np.array([[True, False], [False, False]])},
        {"none": np.array([False, True]), "x": np.array([[1, 0], [0, 0]], np.float32)},
    ),
    "float16": Served(
        tf2(lambda _, x: {"y": x * 2}, x=("float16", (None, 3))),
        {"x": ROWS.astype(np.float16)},
        {"y": (ROWS * 2).astype(np.float16)},
    ),
    "bfloat16": Served(
        tf2(lambda _, x: {"y": x * 2}, x=("bfloat16", (None, 3))),
        {"x": ROWS.astype(bfloat16)},
        {"y": (ROWS * 2).astype(bfloat16)},
    ),
    "whole numbers": Served(
        tf2(
            lambda _, signed, unsigned: {"signed": signed, "unsigned": unsigned - 1},
            signed=("int64", [None]),
            unsigned=("uint64", [None]),
        ),
        {"signed": SIGNED, "unsigned": UNSIGNED},
        {"signed": SIGNED, "unsigned": UNSIGNED - np.uint64(1)},
    ),
    "no numbers": Served(
        tf2(lambda tf, x: {"y": tf.math.log(x)}, x=("float32", [None])),
        {"x": np.array([-1, 0, 1], np.float32)},
        {"y": np.array([np.nan, -np.inf, 0], np.float32)},
    ),
    "bytes": Served(
        tf2(lambda tf, text: {"bytes": tf.strings.join([text, b"\xff"])}, text=("string", [None])),
        {"text": strings("ferry", "río")},
        {"bytes": np.array([b"ferry\xff", b"r\xc3\xado\xff"], STRING)},
    ),
    "strings": Served(
        tf2(lambda tf, text: {"upper": tf.strings.upper(text)}, text=("string", [None])),
        {"text": strings("ferry", "", "río")},
        {"upper": strings("FERRY", "", "RíO")},
    ),
    "vocabulary": Served(
        write_vocabulary,
        {"word": strings("river", "road", "ferry")},
        {"id": np.array([1, 2, 0], np.int64)},
    ),
    "vocabulary, TensorFlow 1": Served(
        tf1_vocabulary("main_op"),
        {"word": strings("river", "road", "ferry")},
        {"id": np.array([1, 2, 0], np.int64)},
    ),
    "vocabulary, legacy init op": Served(
        tf1_vocabulary("legacy_init_op"),
        {"word": strings("river", "road", "ferry")},
        {"id": np.array([1, 2, 0], np.int64)},
    ),
    "any second axis": Served(
        tf2(lambda tf, x: {"sum": tf.reduce_sum(x, axis=1)}, x=("float32", (None, None))),
        {"x": ROWS},
        {"sum": ROWS.sum(axis=1)},
    ),
    "images of any size": Served(
        tf2(colour_means, image=("float32", (None, None, None, 3))),
        {"image": PIXELS.astype(np.float32)},
        {"scores": MEANS},
    ),
    "several signatures": Served(
        write_several_signatures, {"x": PAIRS}, {"sum": PAIRS.sum(axis=1)}, "sums"
    ),
    "several signatures of one tensor": Served(
        tf1(several_signatures), {"rows": PAIRS}, {"sum": PAIRS.sum(axis=1)}, "sums"
    ),
    "no batch axis": Served(
        tf2(lambda _, x: {"y": x * 2}, x=("float32", [3])),
        {"x": ROWS[0]},
        {"y": ROWS[0] * 2},
        alone=True,
    ),
    "a batch of one": Served(
        tf2(lambda _, x: {"y": x * 2}, x=("float32", (1, 3))),
        {"x": ROWS[:1]},
        {"y": ROWS[:1] * 2},
        alone=True,
    ),
    "a number and a text": Served(
        tf2(
            lambda tf, x, text: {"text": tf.strings.join([text, tf.strings.as_string(x)])},
            x=("int32", []),
            text=("string", []),
        ),
        {"text": np.array(b"ferry ", STRING), "x": np.array(7, np.int32)},
        {"text": np.array(b"ferry 7", STRING)},
        alone=True,
    ),
    "any shape": Served(
        tf1(any_shape), {"x": ROWS}, {"size": np.array(6, np.int32), "y": ROWS * 2}, alone=True
    ),
    "no inputs": Served(
        tf2(lambda tf: {"version": tf.constant([3, 1])}),
        {},
        {"version": np.array([3, 1], np.int32)},
        alone=True,
    ),
    "keywords": Served(
        tf1(keyword_inputs),
        {"class": ROWS[0], "in": ROWS[1]},
        {"for": ROWS[0] - ROWS[1]},
    ),
    "reference variables": Served(
        tf1(reference_variables),
        {"x": PAIRS},
        {"scale": SCALE, "y": PAIRS * SCALE},
        alone=True,
    ),
    "a fed reference": Served(
        tf1(fed_reference),
        {"scale": SCALE + 1, "x": PAIRS},
        {"y": PAIRS * (SCALE + 1)},
        alone=True,
    ),
    "numbers as rows": Served(
        tf2(lambda tf, x: {"y": tf.reduce_sum(x, 1)}, x=("float32", (None, 1))),
        {"x": ROWS[0]},
        {"y": ROWS[0]},
    ),
    "an output that is the input": Served(
        tf1(passed_through), {"key": PAIRS}, {"key": PAIRS, "twice": PAIRS * 2}
    ),
    "an input with a default": Served(tf1(with_default), {"x": PAIRS}, {"y": PAIRS * 2}),
    "a number beside rows": Served(
        tf2(
            lambda tf, x: {"loss": tf.reduce_sum(x), "y": x * 2},
            x=("float32", (None, 3)),
        ),
        {"x": ROWS},
        {"loss": ROWS.sum(), "y": ROWS * 2},
        alone=True,
    ),
    "uint8 images": Served(
        tf2(colour_means, image=("uint8", (None, 4, 5, 3))), {"image": PIXELS}, {"scores": MEANS}
    ),
    "float images": Served(
        tf2(colour_means, image=("float32", (None, 4, 5, 3))),
        {"image": PIXELS.astype(np.float32)},
        {"scores": MEANS},
    ),
    "encoded images": Served(
        tf2(decoded_means, image_bytes=("string", [None])),
        {
            "image_bytes": np.array(
                [encoded(Image.fromarray(each), "PNG") for each in PIXELS], STRING
            )
        },
        {"scores": MEANS},
    ),
    "tf.Example": Served(
        tf1(example_parser),
        {"examples": np.array([example((1, 2), 7), example((4, 5), 8)], STRING)},
        {"k": np.array([7, 8], np.int64), "scores": PAIRS * 3},
    ),
    "Keras": Served(write_keras, {"row": ROWS}, {"output_0": ROWS @ WEIGHTS}),
}

#: Models without an output row for each row, which only a run shows.
ALONE_WHEN_RUN: dict[str, Served] = {
    "words of texts": Served(
        tf2(
            lambda tf, text: {"words": tf.strings.split(text).values},
            text=("string", [None]),
        ),
        {"text": strings("to the ferry", "")},
        {"words": strings("to", "the", "ferry")},
        alone=True,
    ),
    "different rows": Served(
        tf1(different_rows), {"x": ROWS[0] // 2}, {"y": np.array([0, 1], np.float32)}, alone=True
    ),
    "a sum of unknown shape": Served(
        tf1(sum_of_unknown_shape), {"x": PAIRS}, {"sum": np.array(12, np.float32)}, alone=True
    ),
}
