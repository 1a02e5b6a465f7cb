"""Classifiers of the shapes that tutorials and converters make, served or refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.backend import LoadedModel
from model.errors import ModelError
from model.images.normalisation import ColourOrder
from model.repository.labels import top_k
from model.signature import Feed
from tests.images import encoded
from tests.integration.graphs import LoadModel
from tests.integration.saving import tf2

pytestmark = pytest.mark.full

Function = Callable[..., Any]  #: of TensorFlow and the images

RED = (255, 0, 0)
GREY = round(0.299 * 255)  #: of red


def means(axes: list[int]) -> Function:
    """Return the mean over these axes, which leaves the channels."""
    return lambda tf, images: {"scores": tf.reduce_mean(tf.cast(images, tf.float32), axes)}


def grey(tf: Any, images: Any) -> dict[str, Any]:
    """Score by the first three pixels."""
    return {"scores": tf.reshape(images, [tf.shape(images)[0], -1])[:, :3]}


def sigmoid(tf: Any, images: Any) -> dict[str, Any]:
    """Return the red of the images, one number each."""
    red = tf.reduce_mean(images, [1, 2])[:, :1]
    return {"scores": tf.identity(tf.sigmoid(red - 0.5))}


def centred(tf: Any, images: Any) -> dict[str, Any]:
    """Subtract the mean of the batch, like a batch norm in training mode."""
    scores = tf.reduce_mean(images, [1, 2])
    return {"scores": scores - tf.reduce_mean(scores, 0, keepdims=True)}


def names_too(tf: Any, images: Any) -> dict[str, Any]:
    """Output the names of the classes beside the scores."""
    scores = tf.reduce_mean(images, [1, 2])
    names = tf.constant([["a", "b", "c"]])
    return {"classes": tf.tile(names, [tf.shape(scores)[0], 1]), "scores": scores}


@dataclass(frozen=True)
class Shape:
    """A model of one shape, and its scores for a red image."""

    function: Function
    shape: tuple[int | None, ...] | None
    scores: tuple[float, ...]
    dtype: str = "float32"
    facts: dict[str, Any] = field(default_factory=dict)
    rows: int | None = 5  #: of a batch in the test; None where it runs alone


SERVED = {
    "one channel": Shape(grey, (None, 28, 28, 1), (GREY / 255,) * 3),
    "no axis of channels": Shape(grey, (None, 28, 28), (GREY / 255,) * 3),
    "channels first": Shape(means([2, 3]), (None, 3, 8, 8), (1, 0, 0)),
    "bytes, blue first": Shape(
        means([1, 2]), (None, 8, 8, 3), (0, 0, 255), "uint8", {"colour_order": ColourOrder.BGR}
    ),
    "a batch of 1": Shape(means([1, 2]), (1, 8, 8, 3), (1, 0, 0), rows=None),
    "a batch of 2": Shape(means([1, 2]), (2, 8, 8, 3), (1, 0, 0), rows=2),
    "a batch of 8": Shape(means([1, 2]), (8, 8, 8, 3), (1, 0, 0)),
    "no batch": Shape(means([0, 1]), (8, 8, 3), (1, 0, 0), rows=None),
    "any rank": Shape(means([1, 2]), None, (1, 0, 0), facts={"height": 8, "width": 8}),
    "open sizes": Shape(
        means([1, 2]), (None, None, None, None), (1, 0, 0), facts={"height": 8, "width": 8}
    ),
    "a sigmoid": Shape(sigmoid, (None, 8, 8, 3), (1 / (1 + np.e**0.5), 1 / (1 + np.e**-0.5))),
    "names beside scores": Shape(names_too, (None, 8, 8, 3), (1, 0, 0)),
}


def saved(load_model: LoadModel, folder: Path, model: Shape) -> LoadedModel:
    """Write *model* as a SavedModel into *folder*, and load it."""
    tf2(model.function, images=(model.dtype, model.shape))(folder / "model")
    return load_model(folder / "model", classes=len(model.scores), **model.facts)[0]


@pytest.mark.parametrize("model", SERVED.values(), ids=SERVED)
def test_a_red_image_gets_its_scores_alone_and_in_a_batch(
    tmp_path: Path, load_model: LoadModel, model: Shape
) -> None:
    """The other rows of the batch are white images."""
    loaded = saved(load_model, tmp_path, model)
    images = loaded.image_input
    assert images is not None
    red, white = (
        images.feed(encoded(Image.new("RGB", (9, 7), colour), "PNG"))
        for colour in (RED, (255, 255, 255))
    )
    assert images.signature.batched == (model.rows is not None)
    for rows in (1, 2, model.rows) if model.rows else (1,):
        (array,), (other,) = red.arrays, white.arrays
        batch = np.concatenate([array, *[other] * (rows - 1)])
        outputs = loaded.runner.run(Feed(images.signature, (batch,)))
        first = tuple(each[:1] if images.signature.batched else each for each in outputs)
        scores = images.scores_of(first)
        np.testing.assert_allclose(scores, model.scores, atol=1e-5)
        if images.signature.batched:
            assert {len(each) for each in outputs} == {rows}
    labels = ("first", "second", "third")[: len(model.scores)]
    assert top_k(scores, labels, 1)[0][0] == labels[int(np.argmax(model.scores))]
    limit = model.shape[0] if model.shape and model.rows and model.shape[0] else None
    assert images.signature.max_rows == limit


REFUSED = {
    "a number for two labels that is no probability": (
        Shape(
            lambda tf, images: {"scores": tf.reduce_mean(images, [1, 2])[:, :1]},
            (None, 8, 8, 3),
            (0, 0),
        ),
        "1 row, but the number of labels is 2: expected [1, 2], or [1, 1] of a Sigmoid",
    ),
    "a full batch that mixes its rows": (
        Shape(centred, (4, 8, 8, 3), (0, 0, 0)),
        "labels are for images, but 'images' is float32[4, 8, 8, 3]",
    ),
    "four channels": (
        Shape(means([1, 2]), (None, 8, 8, 4), (0, 0, 0, 0)),
        "labels are for images, but 'images' is float32[?, 8, 8, 4]",
    ),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_what_could_only_be_guessed_is_refused_in_one_line(
    tmp_path: Path, load_model: LoadModel, model: Shape, message: str
) -> None:
    """A guess would give wrong answers without any sign of it."""
    with pytest.raises(ModelError) as caught:
        saved(load_model, tmp_path, model)
    (line,) = str(caught.value).splitlines()
    assert message in line
