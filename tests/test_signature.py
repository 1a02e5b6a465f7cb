"""Signatures: what a feed must be, and what is said of one that is not."""

import numpy as np
import pytest

from model.signature import FeedError, Signature, TensorSpec, shape_key

IMAGES = TensorSpec("images", np.dtype(np.uint8), (None, 2, None, 3))
WEIGHT = TensorSpec("weight", np.dtype(np.float32), (None,))
SCORES = TensorSpec("scores", np.dtype(np.float32), (None, 5))
SIGNATURE = Signature((IMAGES, WEIGHT), (SCORES,))


def images(*shape: int, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """Return zeros of *shape*."""
    return np.zeros(shape, dtype)


def weights(rows: int) -> np.ndarray:
    """Return *rows* weights that will do."""
    return np.zeros(rows, np.float32)


def test_a_feed_comes_in_the_order_of_the_inputs_and_is_not_copied() -> None:
    """Whatever the order in which the arrays were given."""
    given = {"weight": weights(4), "images": images(4, 2, 7, 3)}
    first, second = SIGNATURE.feed(given)
    assert first is given["images"]
    assert second is given["weight"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "input 'images' is missing: expected uint8[?, 2, ?, 3]"),
        ({"images": images(1, 2, 7, 3)}, "input 'weight' is missing: expected float32[?]"),
        (
            {"images": images(1, 2, 7, 3), "weight": weights(1), "wait": weights(1)},
            "unknown input 'wait': the model takes images, weight",
        ),
        (
            {"images": images(1, 2, 7, 3, dtype=np.float32), "weight": weights(1)},
            "input 'images': expected uint8[?, 2, ?, 3], got float32[1, 2, 7, 3]",
        ),
        (
            {"images": images(1, 2, 7, 3), "weight": weights(1).astype(">f4")},
            "input 'weight': expected float32[?], got >f4[1]",
        ),
        (
            {"images": images(1, 9, 7, 3), "weight": weights(1)},
            "input 'images': expected uint8[?, 2, ?, 3], got uint8[1, 9, 7, 3]",
        ),
        (
            {"images": images(2, 7, 3), "weight": weights(2)},
            "input 'images': expected uint8[?, 2, ?, 3], got uint8[2, 7, 3]",
        ),
        (
            {"images": np.array(0, np.uint8), "weight": weights(1)},
            "input 'images': expected uint8[?, 2, ?, 3], got uint8[]",
        ),
        (
            {"images": images(0, 2, 7, 3), "weight": weights(0)},
            "input 'images': expected at least 1 row, got 0",
        ),
        (
            {"images": images(3, 2, 7, 3), "weight": weights(2)},
            "input 'weight': expected 3 rows as in 'images', got 2",
        ),
    ],
    ids=[
        "nothing", "one missing", "unknown", "dtype", "byte order", "size", "no batch axis",
        "a scalar", "no rows", "other rows",
    ],
)  # fmt: skip
def test_a_bad_feed_is_refused_by_name(arrays: dict[str, np.ndarray], message: str) -> None:
    """The message says which input, what was expected and what came."""
    with pytest.raises(FeedError) as caught:
        SIGNATURE.feed(arrays)
    assert str(caught.value) == message


def test_a_graph_of_fixed_batch_says_so() -> None:
    """Its feeds have that many rows, no more and no fewer."""
    fixed = Signature((TensorSpec("x", np.dtype(np.float32), (1, 4)),), (SCORES,))
    assert (SIGNATURE.max_rows, fixed.max_rows) == (None, 1)
    (fed,) = fixed.feed({"x": np.zeros((1, 4), np.float32)})
    assert fed.shape == (1, 4)
    with pytest.raises(FeedError, match=r"expected float32\[1, 4\], got float32\[2, 4\]"):
        fixed.feed({"x": np.zeros((2, 4), np.float32)})


def test_the_shape_of_a_row_leaves_out_the_batch_axis() -> None:
    """Open sizes stay open."""
    assert IMAGES.row_shape == (2, None, 3)
    assert WEIGHT.row_shape == ()


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ((images(1, 2, 7, 3), weights(1)), (images(9, 2, 7, 3), weights(9)), True),
        ((images(1, 2, 7, 3), weights(1)), (images(1, 2, 8, 3), weights(1)), False),
        ((images(1, 2, 7, 3), weights(1)), (images(1, 2, 7, 3),), False),
    ],
    ids=["other rows", "other width", "other inputs"],
)
def test_feeds_share_a_run_where_their_rows_have_one_shape(
    one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...], *, together: bool
) -> None:
    """The number of rows has no part in it."""
    assert (shape_key(one) == shape_key(other)) is together
