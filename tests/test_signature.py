"""Signatures: the check of feeds, and the errors of those that do not fit."""

import numpy as np
import pytest

from model.signature import STRING, Feed, FeedError, RunKey, Signature, TensorSpec, blank_feed

IMAGES = TensorSpec("images", np.dtype(np.uint8), (None, 2, None, 3))
WEIGHT = TensorSpec("weight", np.dtype(np.float32), (None,))
SCORES = TensorSpec("scores", np.dtype(np.float32), (None, 5))
SIGNATURE = Signature((IMAGES, WEIGHT), (SCORES,))


def images(*shape: int, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """Return zeros of *shape*."""
    return np.zeros(shape, dtype)


def weights(rows: int) -> np.ndarray:
    """Return *rows* weights that fit."""
    return np.zeros(rows, np.float32)


def test_a_feed_has_the_order_of_the_inputs_and_is_not_copied() -> None:
    """For any order of the mapping."""
    given = {"weight": weights(4), "images": images(4, 2, 7, 3)}
    first, second = SIGNATURE.feed(given).arrays
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
    """The message states the input, the expected tensor and the one that came."""
    with pytest.raises(FeedError) as caught:
        SIGNATURE.feed(arrays)
    assert str(caught.value) == message


def test_a_feed_that_runs_alone_is_unchanged() -> None:
    """Its first axis has no meaning: the feed counts as one row, and rows are not compared."""
    specs = (TensorSpec("x", np.dtype(np.float32), (1, 4)), TensorSpec("y", np.dtype(bool), ()))
    alone = Signature(specs, (SCORES,), "lonely", alone="input 'x' has a batch axis of 1")
    assert (SIGNATURE.batched, alone.batched) == (True, False)
    feed = alone.feed({"x": np.zeros((1, 4), np.float32), "y": np.array(True)})
    assert (feed.rows, feed.key) == (1, RunKey(None, "lonely", ((1, 4), ())))
    with pytest.raises(FeedError, match=r"expected float32\[1, 4\], got float32\[2, 4\]"):
        alone.feed({"x": np.zeros((2, 4), np.float32), "y": np.array(True)})


def test_a_tensor_of_any_shape_takes_any_shape() -> None:
    """But only its own dtype fits."""
    spec = TensorSpec("x", np.dtype(np.float32), None)
    assert all(spec.accepts(np.zeros(shape, np.float32)) for shape in [(), (3,), (1, 2, 3)])
    assert not spec.accepts(np.zeros(3))
    assert (str(spec), spec.row_shape) == ("float32 of any shape", ())


def test_a_list_of_numbers_fits_where_a_row_is_one_number() -> None:
    """For the inputs [?, 1] of models with columns of one feature, and for no others."""
    column = Signature((TensorSpec("age", np.dtype(np.float32), (None, 1)),), (SCORES,))
    feed = column.feed({"age": weights(3)})
    assert (feed.rows, feed.arrays[0].shape) == (3, (3, 1))
    pair = Signature((TensorSpec("age", np.dtype(np.float32), (None, 2)),), (SCORES,))
    with pytest.raises(FeedError, match=r"expected float32\[\?, 2\], got float32\[3\]"):
        pair.feed({"age": weights(3)})


def test_the_dtype_of_strings_is_called_string() -> None:
    """Not object, as in numpy."""
    words = Signature((TensorSpec("words", STRING, (None,)),), (SCORES,))
    assert words.feed({"words": np.array([b"a", b"b"], STRING)}).rows == 2
    with pytest.raises(FeedError) as caught:
        words.feed({"words": weights(2)})
    assert str(caught.value) == "input 'words': expected string[?], got float32[2]"


def test_the_shape_of_a_row_is_without_the_batch_axis() -> None:
    """Sizes of None stay None."""
    assert IMAGES.row_shape == (2, None, 3)
    assert WEIGHT.row_shape == ()


ONE_ROW = SIGNATURE.feed({"images": images(1, 2, 7, 3), "weight": weights(1)})


@pytest.mark.parametrize(
    ("feed", "together"),
    [
        (SIGNATURE.feed({"images": images(9, 2, 7, 3), "weight": weights(9)}), True),
        (SIGNATURE.feed({"images": images(1, 2, 8, 3), "weight": weights(1)}), False),
        (Feed(Signature((IMAGES, WEIGHT), (SCORES,), "other"), ONE_ROW.arrays), False),
    ],
    ids=["other rows", "other width", "other signature"],
)
def test_feeds_share_a_run_where_signature_and_row_shapes_are_equal(
    feed: Feed, *, together: bool
) -> None:
    """The number of rows does not count."""
    assert (feed.key == ONE_ROW.key) is together


def test_a_feed_has_row_bytes_and_repeats_its_first_row() -> None:
    """The bytes are those of all inputs."""
    feed = SIGNATURE.feed({"images": images(3, 2, 7, 3), "weight": np.arange(3, dtype=np.float32)})
    assert feed.row_bytes == 2 * 7 * 3 + 4
    more = feed.repeated(5)
    assert (more.rows, more.key, more.arrays[1].tolist()) == (5, feed.key, [0.0] * 5)


def test_a_blank_feed_fits_the_signature() -> None:
    """It is a row of zeros and empty strings; sizes of None are 1."""
    words = TensorSpec("words", STRING, (None, 2))
    signature = Signature((IMAGES, WEIGHT, words), (SCORES,))
    blank = blank_feed(signature)
    images, weight, text = blank.arrays
    assert (images.shape, weight.shape, text.tolist()) == ((1, 2, 1, 3), (1,), [[b"", b""]])
    assert not images.any()
    assert signature.feed({"images": images, "weight": weight, "words": text}).key == blank.key
    alone = blank_feed(Signature((TensorSpec("x", np.dtype(bool), None),), (), alone="any shape"))
    assert (alone.rows, alone.arrays[0].shape) == (1, ())
