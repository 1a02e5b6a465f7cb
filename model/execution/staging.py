"""
Hold the rows of one batch in contiguous memory that TensorFlow uses without a copy.

A `Staging` belongs to one lane, and only the lane's thread uses it; cancelling a request does not
free its buffers.  TensorFlow copies a fed array whose address is not a multiple of 64 bytes, and
holds the interpreter lock meanwhile.  Large arrays that numpy allocates never start at such a
multiple.
"""

from collections.abc import Sequence

import numpy as np

from model.signature import STRING, Arrays, Feed, RunKey

ALIGNMENT = 64  #: bytes


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """
    Return an uninitialised C-contiguous array whose address is a multiple of 64 bytes.

    An array of strings is not aligned: TensorFlow copies its references in any case.
    """
    if dtype == STRING:
        return np.empty(shape, dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


class Staging:
    """The buffers of one lane, one for each input; they fit the key of the last staged batch."""

    def __init__(self) -> None:
        self._key: RunKey | None = None
        self._buffers: Arrays = ()

    def stage(self, slices: Sequence[tuple[Feed, int, int]]) -> Feed:
        """
        Copy rows of several feeds into the buffers, one after the other; return them as one feed.

        Each of *slices* is (feed, start, stop): the rows from start to stop, without stop, are
        copied.  All feeds must have the same key.  The arrays of the returned feed are views of the
        buffers, and valid until the next call.
        """
        first = slices[0][0]
        rows = sum(stop - start for _, start, stop in slices)
        self._fit(first, rows)
        views = tuple(buffer[:rows] for buffer in self._buffers)
        filled = 0
        for feed, start, stop in slices:
            end = filled + stop - start
            for view, array in zip(views, feed.arrays, strict=True):
                view[filled:end] = array[start:stop]
            filled = end
        return Feed(first.signature, views, first.model)

    def forget(self, model: object) -> None:
        """Drop the buffers if they are those of *model*, a `LoadedModel`."""
        if self._key is not None and self._key.model is model:
            self._key, self._buffers = None, ()

    def _fit(self, feed: Feed, rows: int) -> None:
        key = feed.key
        if key == self._key and rows <= len(self._buffers[0]):
            return
        self._buffers = tuple(
            aligned_empty((rows, *array.shape[1:]), array.dtype) for array in feed.arrays
        )
        self._key = key
