"""Staging: the rows of a batch side by side, where the accelerator takes them as they are."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.staging import Staging, aligned_empty

if TYPE_CHECKING:
    from model.signature import Feed


def address(array: np.ndarray) -> int:
    """Return where *array* begins in memory."""
    return int(array.ctypes.data)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 224, 224, 3)])
def test_a_buffer_begins_at_a_multiple_of_64_bytes(
    dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    """Whatever is in it; and it is as contiguous and as writable as any."""
    buffer = aligned_empty(shape, np.dtype(dtype))
    assert address(buffer) % 64 == 0
    assert buffer.shape == shape
    assert buffer.dtype == np.dtype(dtype)
    assert buffer.flags.c_contiguous
    assert buffer.flags.writeable


def test_rows_stand_one_behind_the_other_in_the_order_given() -> None:
    """Parts of feeds as well as whole ones, and each input in a buffer of its own."""
    letters = np.arange(10, dtype=np.uint8).reshape(5, 2)
    numbers = np.arange(5, dtype=np.float32) / 2
    whole: Feed = (letters[:1], numbers[:1])
    part: Feed = (letters, numbers)
    staged = Staging().stage([(part, 3, 5), (whole, 0, 1), (part, 1, 2)])
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
    """Nothing of an earlier batch shines through, whether it was larger or smaller."""
    source: Feed = (np.arange(36, dtype=np.int32).reshape(12, 3),)
    staging = Staging()
    for batch in (cuts, again):
        (staged,) = staging.stage([(source, start, start + rows) for start, rows in batch])
        expected = np.concatenate([source[0][start : start + rows] for start, rows in batch])
        np.testing.assert_array_equal(staged, expected)
        assert address(staged) % 64 == 0


def test_one_buffer_serves_every_batch_that_fits_into_it() -> None:
    """It moves only for a larger batch, another shape or another dtype."""
    staging = Staging()

    def where(rows: int, width: int = 3, dtype: type[np.generic] = np.uint8) -> np.ndarray:
        (staged,) = staging.stage([((np.ones((rows, width), dtype),), 0, rows)])
        assert (staged == 1).all()
        return staged

    first = where(4)
    assert all(address(where(rows)) == address(first) for rows in (1, 3, 4))
    for moved in (where(5), where(5, width=2), where(5, width=2, dtype=np.int8)):
        assert not np.shares_memory(moved, first)
        first = moved


def test_what_was_staged_is_a_copy() -> None:
    """A feed that is written to afterwards leaves the batch alone."""
    feed: Feed = (np.ones((2, 2), np.float32),)
    (staged,) = Staging().stage([(feed, 0, 2)])
    feed[0][:] = 5
    assert (staged == 1).all()
