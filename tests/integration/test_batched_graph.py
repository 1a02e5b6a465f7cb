"""Graphs that take one image, rewritten to take batches: their results, or the obstacle."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.images.layout import ImageLayout
from model.images.probe_images import probe_images, probe_pixels
from tests.images import coloured, encoded
from tests.integration import scalar_graphs as made
from tests.integration.batched_graphs import (
    ENCODED,
    SMALL_DENSE,
    freed,
    graph_def,
    one_at_a_time,
    together,
)
from tests.integration.graphs import SCORES, Build
from tests.integration.scalar_graphs import chain, part_of

pytestmark = pytest.mark.full


@pytest.mark.parametrize(("build", "scores"), list(ENCODED.values()), ids=list(ENCODED))
def test_encoded_images_in_a_batch_get_what_each_gets_alone(
    build: Build, scores: tuple[int, ...]
) -> None:
    """Images other than the probes, of other sizes: each row equals the graph's own result."""
    definition = graph_def(build)
    batched = freed(definition, made.CONTENTS, probe_images())
    assert (batched.probe_format, batched.scores) == ("JPEG", scores)
    assert batched.row in ((64, 64, 3), (79, 79, 3))
    sizes = [(20, 30), (64, 64), (500, 333), (1, 90), (101, 100), (31, 640), (8, 8)]
    files = [encoded(coloured(*size), "JPEG") for size in sizes]
    rows = one_at_a_time(batched.prefix, batched.input, batched.cut, files)
    alone = one_at_a_time(definition, batched.input, batched.output, files)
    expected = np.stack([each.reshape(scores) for each in alone])
    tolerance = 1e-2 if build is ENCODED["half as precise"][0] else 1e-5
    np.testing.assert_allclose(together(batched, np.concatenate(rows)), expected, 0, tolerance)


def waited_for(tf: ModuleType, rows: Any) -> Any:
    """Make a constant wait for the rows by a control edge."""
    with tf.control_dependencies([rows]):
        return rows * tf.constant(0.5)


def placed_with(tf: ModuleType, rows: Any) -> Any:
    """Colocate a node with the rows, as the branches of a condition do."""
    with tf.get_default_graph().colocate_with(rows.op):
        return tf.identity(rows)


#: Graphs that take pixels, their dtype and size, and the number of their scores.
PIXELS: dict[str, tuple[Build, str, int, int]] = {
    "squeezed of all": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(), made.softmax),
        "float32",
        224,
        6,
    ),
    "squeezed of height and width": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(1, 2), made.reshaped(1, 6), made.softmax),
        "float32",
        224,
        6,
    ),
    "reshaped to one": (
        chain(made.pixels(None), *made.MOBILE, made.reshaped(1, -1), made.softmax),
        "float32",
        224,
        6,
    ),
    "squeezed of what comes first from behind": (
        chain(made.pixels(), *made.MOBILE, made.squeezed(-4, -3), part_of("expand_dims", -3)),
        "float32",
        224,
        6,
    ),
    "an order to wait for the image": (
        chain(made.pixels(side=64), waited_for, *SMALL_DENSE),
        "float32",
        64,
        5,
    ),
    "an order to run where the image is": (
        chain(made.pixels(side=64), placed_with, *SMALL_DENSE),
        "float32",
        64,
        5,
    ),
    "bytes": (chain(made.pixels(1, "uint8", 64), *SMALL_DENSE), "uint8", 64, 5),
    "halves": (chain(made.pixels(1, "float16", 64), *SMALL_DENSE), "float16", 64, 5),
}


@pytest.mark.parametrize(
    ("build", "dtype", "side", "labels"), list(PIXELS.values()), ids=list(PIXELS)
)
def test_pixels_in_a_batch_get_what_each_gets_alone(
    build: Build, dtype: str, side: int, labels: int
) -> None:
    """The cut is the input itself; the prefix is empty."""
    definition = graph_def(build)
    batched = freed(definition, made.PIXELS, probe_pixels(ImageLayout(None, side, side, 3), dtype))
    assert (batched.probe_format, batched.cut, len(batched.prefix.node)) == ("pixels", "input:0", 0)
    assert (batched.row, batched.dtype) == ((side, side, 3), np.dtype(dtype))
    images = np.random.default_rng(1).integers(0, 256, (7, *batched.row)).astype(dtype)
    alone = one_at_a_time(definition, "input:0", f"{SCORES}:0", np.split(images, 7))
    expected = np.stack([each.ravel()[-labels:] for each in alone])
    np.testing.assert_allclose(
        together(batched, images).reshape(7, labels), expected, rtol=0, atol=1e-5
    )
