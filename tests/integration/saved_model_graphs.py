"""The graphs of the SavedModels that the tests serve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.saving import Ends, Tensors, Write, edit, save_functions, tf1

WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
BIAS = np.array([0.5, -1], np.float32)
SCALE = np.array([2, 3], np.float32)


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
