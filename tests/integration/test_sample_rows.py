"""The sample requests of a model are answered, or there is a reason for none: sample_rows.py."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twisted.internet.task import Clock

from batcher.errors import OutOfMemory
from model.backends.tensorflow.trials.sample_rows import runnable_row
from model.errors import RowsRefused
from model.repository.model_kind import ModelFiles, ModelKind
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed
from server.api.native_feeds import tensor_feed
from server.api.samples import is_short, sample_command, sample_feed
from server.api.status import status_of
from server.deadlines import NO_DEFAULT_TIMEOUT
from server.served_model import ServedModel
from tests.fakes.server import ManualLane, served_model
from tests.integration.graphs import load_files
from tests.integration.saving import Write, tf2

pytestmark = pytest.mark.full

ROWS = ("string", [None])


def mapped(tf: Any, function: Any, rows: Any) -> Any:
    """Return the result of *function* for each of *rows*."""
    return tf.map_fn(function, rows, fn_output_signature=tf.float32)


def csv_sum(tf: Any, line: Any) -> Any:
    """Add up the numbers of each line."""
    return tf.add_n(tf.io.decode_csv(line, [[0.0], tf.constant([], tf.float32), [0.0]]))


def parsed(tf: Any, rows: Any, **default: Any) -> Any:
    """Return the feature `x` of each tf.train.Example."""
    return tf.io.parse_example(rows, {"x": tf.io.FixedLenFeature([], tf.float32, **default)})["x"]


def scored(tf: Any, example: Any) -> Any:
    """Add up the features of one tf.train.Example."""
    kinds = {
        "of three": tf.io.FixedLenFeature([3], tf.float32),
        "number, as text": tf.io.FixedLenFeature([], tf.string),
        "index": tf.io.FixedLenFeature([], tf.int64),
        "left out": tf.io.VarLenFeature(tf.string),
    }
    found = tf.io.parse_single_example(example, kinds)
    index = tf.gather([5.0], found["index"])
    number = tf.strings.to_number(found["number, as text"])
    return number + tf.reduce_sum(found["of three"]) + index


def mean_of_image(tf: Any, data: Any) -> Any:
    """Return the mean of an encoded image."""
    pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.reduce_mean(tf.cast(pixels, tf.float32))


def volume(tf: Any, data: Any) -> Any:
    """Return the largest sample of a sound."""
    return tf.reduce_max(tf.audio.decode_wav(data).audio)


def masked(tf: Any, ids: Any, lengths: Any) -> Any:
    """Return the sums of the first so many numbers of each row."""
    mask = tf.sequence_mask(lengths, tf.shape(ids)[1], tf.float32)
    return tf.reduce_sum(tf.cast(ids, tf.float32) * mask, axis=1)


def above_four(tf: Any, x: Any) -> Any:
    """Return *x*, all of which must be above 4."""
    with tf.control_dependencies([tf.debugging.assert_greater(x, 4.0)]):
        return tf.identity(x)


#: Models, by the inputs that they need.
ANSWERED: dict[str, Write] = {
    "a float in a string": tf2(lambda tf, s: {"y": tf.strings.to_number(s)}, s=ROWS),
    "a whole number in a string": tf2(
        lambda tf, s: {"y": tf.strings.to_number(s, tf.int64)}, s=ROWS
    ),
    "an index in a string": tf2(
        lambda tf, s: {"y": tf.gather([5.0], tf.strings.to_number(s, tf.int32))}, s=ROWS
    ),
    "numbers in three strings": tf2(
        lambda tf, a, b, c: {"y": tf.add_n([tf.strings.to_number(s) for s in (a, b, c)])},
        a=ROWS,
        b=ROWS,
        c=ROWS,
    ),
    "lines of CSV": tf2(lambda tf, s: {"y": csv_sum(tf, s)}, s=ROWS),
    "Examples with defaults": tf2(lambda tf, s: {"y": parsed(tf, s, default_value=1.0)}, s=ROWS),
    "Examples without defaults": tf2(lambda tf, s: {"y": parsed(tf, s)}, s=ROWS),
    "Examples of features of all kinds": tf2(
        lambda tf, s: {"y": mapped(tf, lambda one: scored(tf, one), s)}, s=ROWS
    ),
    "Examples as JSON": tf2(lambda tf, s: {"y": tf.io.decode_json_example(s)}, s=ROWS),
    "base64": tf2(lambda tf, s: {"y": tf.io.decode_base64(s)}, s=ROWS),
    "words of texts": tf2(lambda tf, s: {"y": tf.strings.split(s).to_tensor()}, s=ROWS),
    "raw numbers": tf2(lambda tf, s: {"y": tf.io.decode_raw(s, tf.float64)}, s=ROWS),
    "images and a number": tf2(
        lambda tf, s, x: {"y": mapped(tf, lambda one: mean_of_image(tf, one), s) * x},
        s=ROWS,
        x=("float32", [None]),
    ),
    "a sound": tf2(lambda tf, s: {"y": mapped(tf, lambda one: volume(tf, one), s)}, s=ROWS),
    "a number and an image in strings": tf2(
        lambda tf, a, b: {
            "y": tf.strings.to_number(a) + mapped(tf, lambda one: mean_of_image(tf, one), b)
        },
        a=ROWS,
        b=ROWS,
    ),
    "numbers and their count": tf2(
        lambda tf, ids, lengths: {"y": masked(tf, ids, lengths)},
        ids=("int32", (None, None)),
        lengths=("int32", [None]),
    ),
    "divisors": tf2(lambda _, x: {"y": 10 // x}, x=("int32", [None])),
    "indices from 1": tf2(lambda tf, x: {"y": tf.gather([5.0, 6.0], x - 1)}, x=("int64", [None])),
    "four numbers, which the signature does not state": tf2(
        lambda tf, x: {"y": x @ tf.ones((4, 2))}, x=("float32", (None, None))
    ),
    "images of 8 pixels at least": tf2(
        lambda tf, x: {"y": tf.nn.conv2d(x, tf.ones((8, 8, 3, 1)), 1, "VALID")},
        x=("float32", (None, None, None, 3)),
    ),
    "a row of numbers, which the signature does not state": tf2(
        lambda tf, x: {"y": tf.ensure_shape(x, (None, 3)) @ tf.ones((3, 2))}, x=("float32", None)
    ),
}

#: Models for which no sample is made, and the reason.
UNANSWERED: dict[str, tuple[Write, str]] = {
    "numbers above 4": (
        tf2(lambda tf, x: {"y": above_four(tf, x)}, x=("float32", [None])),
        "the model refused every value that was tried",
    ),
}


@pytest.fixture
def served(write: Write, tmp_path: Path) -> Iterator[tuple[ServedModel, Any]]:
    """A model as served, and its runner."""
    folder = tmp_path / "saved"
    write(folder)
    files = ModelFiles(ModelKind.SAVED_MODEL, folder, folder)
    loaded = load_files(files)
    model = served_model(Clock(), ManualLane())
    for signature in loaded.runner.signatures:
        sample = loaded.samples.get(signature.name) or blank_feed(signature)
        model.queues.learn(sample, 4, {})
    yield (
        replace(
            model,
            signatures={each.name: each for each in loaded.signatures},
            default=loaded.signatures[0].name,
            image_input=loaded.image_input,
            samples=loaded.samples,
            max_pixels=10**6 if loaded.decodes else None,
        ),
        loaded.runner,
    )
    loaded.runner.close()


@pytest.mark.parametrize("write", list(ANSWERED.values()), ids=list(ANSWERED))
def test_each_sample_is_answered(served: tuple[ServedModel, Any]) -> None:
    """Those of the status, and those in the commands of `inspect`."""
    model, runner = served
    facts: Any = status_of(model, NO_DEFAULT_TIMEOUT)["signatures"]
    for name, signature in model.signatures.items():
        sample = sample_feed(signature, model.image_input, model.samples)
        assert isinstance(sample, Feed)
        command = shlex.split(sample_command(sample, model.default, "localhost"))
        if is_short(sample):
            body = command[2]
            assert facts[name]["sample"] == body
        else:
            body = subprocess.check_output([sys.executable, *command[1:3]], text=True)
        runner.run(tensor_feed(model, body.encode()))


@pytest.mark.parametrize(("write", "reason"), list(UNANSWERED.values()), ids=list(UNANSWERED))
def test_no_sample_is_shown_that_would_be_refused(
    served: tuple[ServedModel, Any], reason: str
) -> None:
    """A reason is shown in its place."""
    model, _ = served
    facts: Any = status_of(model, NO_DEFAULT_TIMEOUT)["signatures"]
    for name, signature in model.signatures.items():
        assert sample_feed(signature, model.image_input, model.samples) == reason
        assert (facts[name].get("sample"), facts[name]["no_sample"]) == (None, reason)


def test_the_search_for_a_row_ends() -> None:
    """After some seconds, or where the memory is full."""
    texts = tuple(TensorSpec(f"s{number}", STRING, (None,)) for number in range(9))
    signature = Signature(texts, (TensorSpec("y", np.dtype(np.float32), (None,)),))
    runs: list[Feed] = []

    def refuse(feed: Feed) -> Arrays:
        runs.append(feed)
        raise RowsRefused("no")

    def fill(feed: Feed) -> Arrays:
        runs.append(feed)
        raise OutOfMemory(1)

    assert runnable_row(signature, refuse, seconds=lambda: len(runs) / 100) is None
    assert len(runs) == 201
    assert runnable_row(signature, fill) is None
    assert len(runs) == 202
