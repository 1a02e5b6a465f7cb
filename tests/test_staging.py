"""Staging: the rows of a batch in contiguous, aligned memory."""

from weakref import ref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.execution.staging import Staging, aligned_empty
from model.signature import STRING, Feed, Signature, TensorSpec
from tests.fakes.model import FakeRunner, images, loaded


def fed(*arrays: np.ndarray) -> Feed:
    """Return a feed of *arrays*, one an input."""
    specs = [
        TensorSpec(str(at), each.dtype, (None, *each.shape[1:])) for at, each in enumerate(arrays)
    ]
    return Feed(Signature(tuple(specs), (), str([spec.type_name for spec in specs])), arrays)


def address(array: np.ndarray) -> int:
    """Return the address of *array*."""
    return int(array.ctypes.data)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 224, 224, 3)])
def test_a_buffer_begins_at_a_multiple_of_64_bytes(
    dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    """For every dtype and shape; the buffer is contiguous and writable, too."""
    buffer = aligned_empty(shape, np.dtype(dtype))
    assert address(buffer) % 64 == 0
    assert buffer.shape == shape
    assert buffer.dtype == np.dtype(dtype)
    assert buffer.flags.c_contiguous
    assert buffer.flags.writeable


def test_rows_are_copied_one_behind_the_other_in_the_order_given() -> None:
    """Parts of feeds as well as whole ones, and each input in a buffer of its own."""
    letters = np.arange(10, dtype=np.uint8).reshape(5, 2)
    numbers = np.arange(5, dtype=np.float32) / 2
    whole, part = fed(letters[:1], numbers[:1]), fed(letters, numbers)
    staged = Staging().stage([(part, 3, 5), (whole, 0, 1), (part, 1, 2)]).arrays
    assert [array.tolist() for array in staged] == [
        [[6, 7], [8, 9], [0, 1], [2, 3]],
        [1.5, 2.0, 0.0, 0.5],
    ]
    assert [array.dtype for array in staged] == [np.uint8, np.float32]


@given(
    cuts=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=8),
    again=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=8),
)
def test_any_batch_after_any_other_is_what_concatenation_gives(
    cuts: list[tuple[int, int]], again: list[tuple[int, int]]
) -> None:
    """No row of an earlier batch remains, whether that was larger or smaller."""
    rows = np.arange(36, dtype=np.int32).reshape(12, 3)
    source = fed(rows)
    staging = Staging()
    for batch in (cuts, again):
        (staged,) = staging.stage([(source, start, start + count) for start, count in batch]).arrays
        expected = np.concatenate([rows[start : start + count] for start, count in batch])
        np.testing.assert_array_equal(staged, expected)
        assert address(staged) % 64 == 0


def test_one_buffer_serves_every_batch_that_fits_into_it() -> None:
    """A new buffer is made only for a larger batch, another shape or another dtype."""
    staging = Staging()

    def where(rows: int, width: int = 3, dtype: type[np.generic] = np.uint8) -> np.ndarray:
        (staged,) = staging.stage([(fed(np.ones((rows, width), dtype)), 0, rows)]).arrays
        assert (staged == 1).all()
        return staged

    first = where(4)
    assert all(address(where(rows)) == address(first) for rows in (1, 3, 4))
    for moved in (where(5), where(5, width=2), where(5, width=2, dtype=np.int8)):
        assert not np.shares_memory(moved, first)
        first = moved


def test_what_was_staged_is_a_copy() -> None:
    """A later change of the feed does not change the batch."""
    ones = np.ones((2, 2), np.float32)
    (staged,) = Staging().stage([(fed(ones), 0, 2)]).arrays
    ones[:] = 5
    assert (staged == 1).all()


def test_strings_are_staged_like_other_rows() -> None:
    """As references, so that each string may have any length."""
    words = np.array([b"a", b"", b"ccc" * 100], STRING)
    (staged,) = Staging().stage([(fed(words), 2, 3), (fed(words), 0, 2)]).arrays
    assert staged.tolist() == [b"ccc" * 100, b"a", b""]


def test_another_signature_of_the_same_shapes_gets_buffers_of_its_own() -> None:
    """Its dtypes may differ."""
    staging = Staging()
    staging.stage([(fed(np.ones((2, 2), np.float32)), 0, 2)])
    other = Signature((TensorSpec("0", np.dtype(np.int32), (None, 2)),), (), "other")
    feed = Feed(other, (np.full((2, 2), 7, np.int32),))
    (staged,) = staging.stage([(feed, 0, 2)]).arrays
    assert staged.dtype == np.int32
    assert staged.tolist() == [[7, 7], [7, 7]]


def test_the_buffers_of_a_model_are_dropped_with_it_only() -> None:
    """Another model's are kept; after that, the next batch has new ones."""
    model, other = loaded(FakeRunner()), loaded(FakeRunner())
    staging = Staging()
    staging.forget(model)
    first = staging.stage([(images(1, 2, model=model), 0, 2)]).arrays[0]
    staging.forget(other)
    again = staging.stage([(images(3, model=model), 0, 1)]).arrays[0]
    assert np.shares_memory(first, again)
    buffers = ref(first.base)
    del first, again
    assert buffers() is not None
    staging.forget(model)
    assert buffers() is None
    assert staging.stage([(images(4, model=other), 0, 1)]).arrays[0].max() == 4
