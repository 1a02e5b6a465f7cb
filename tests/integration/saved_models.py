"""
SavedModels for the tests with TensorFlow, made by common means, and their outputs.

`SAVED_MODELS` is the table: how each is written, one request, and its outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_dtypes import bfloat16
from PIL import Image

from model.signature import STRING
from tests.images import encoded
from tests.integration.saved_model_graphs import (
    BIAS,
    SCALE,
    WEIGHTS,
    any_shape,
    colour_means,
    decoded_means,
    different_rows,
    example,
    example_parser,
    fed_reference,
    keyword_inputs,
    passed_through,
    reference_variables,
    several_signatures,
    sum_of_unknown_shape,
    tf1_vocabulary,
    with_default,
    write_affine,
    write_keras,
    write_several_signatures,
    write_vocabulary,
)
from tests.integration.saving import Write, tf1, tf2

#: Returns the folder of a model of `SAVED_MODELS`, which tests only read.
SavedModelAt = Callable[[str], Path]


@dataclass(frozen=True)
class Served:
    """A SavedModel, a request to it, and the outputs."""

    write: Write
    feed: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    signature: str = "serving_default"
    alone: str = ""  #: why its feeds cannot share a run
    kind: str = "SavedModel"
    suffix: str = ""  #: of its file, where it is no folder


# --- the table


def strings(*words: str) -> np.ndarray:
    """Return *words* as an array of strings."""
    return np.array([word.encode() for word in words], STRING)


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
        alone="input 'x' is float32[3]: its first axis is not of variable size",
    ),
    "a batch of one": Served(
        tf2(lambda _, x: {"y": x * 2}, x=("float32", (1, 3))),
        {"x": ROWS[:1]},
        {"y": ROWS[:1] * 2},
        alone="input 'x' is float32[1, 3]: its first axis is not of variable size",
    ),
    "a number and a text": Served(
        tf2(
            lambda tf, x, text: {"text": tf.strings.join([text, tf.strings.as_string(x)])},
            x=("int32", []),
            text=("string", []),
        ),
        {"text": np.array(b"ferry ", STRING), "x": np.array(7, np.int32)},
        {"text": np.array(b"ferry 7", STRING)},
        alone="input 'text' is string[]: its first axis is not of variable size",
    ),
    "any shape": Served(
        tf1(any_shape),
        {"x": ROWS},
        {"size": np.array(6, np.int32), "y": ROWS * 2},
        alone="input 'x' is float32 of any shape: its first axis is not of variable size",
    ),
    "no inputs": Served(
        tf2(lambda tf: {"version": tf.constant([3, 1])}),
        {},
        {"version": np.array([3, 1], np.int32)},
        alone="it has no inputs",
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
        alone="output 'scale' is float32[2]: expected one output row for each input row",
    ),
    "a fed reference": Served(
        tf1(fed_reference),
        {"scale": SCALE + 1, "x": PAIRS},
        {"y": PAIRS * (SCALE + 1)},
        alone="input 'scale' is float32[2]: its first axis is not of variable size",
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
        alone="output 'loss' is float32[]: expected one output row for each input row",
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
        alone="output 'words' is [3] for 3 rows: expected one output row for each input row",
    ),
    "different rows": Served(
        tf1(different_rows),
        {"x": ROWS[0] // 2},
        {"y": np.array([0, 1], np.float32)},
        alone="output 'y' is [1] for 3 rows: expected one output row for each input row",
    ),
    "a sum of unknown shape": Served(
        tf1(sum_of_unknown_shape),
        {"x": PAIRS},
        {"sum": np.array(12, np.float32)},
        alone="output 'sum' is [] for 3 rows: expected one output row for each input row",
    ),
}
