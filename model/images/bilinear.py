"""
Resize like ``ResizeBilinear`` of TensorFlow 1: no antialiasing, no half-pixel centres.

label_image (an example program of TensorFlow) and the graphs that were retrained for it resize this
way.  Pure.
"""

import numpy as np
import numpy.typing as npt


def resize_as_tensorflow(
    pixels: npt.NDArray[np.uint8], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """
    Return *pixels*, uint8 [rows, columns, channels], resized to *height* x *width* and rounded.

    The new pixel (y, x) is interpolated at (y * rows / height, x * columns / width) from the four
    pixels around that position; other pixels have no weight.
    """
    above, below, row_weights = _sample_positions(pixels.shape[0], height)
    columns = _sample_positions(pixels.shape[1], width)
    upper = _resize_rows(pixels.take(above, 0), *columns)
    lower = _resize_rows(pixels.take(below, 0), *columns)
    lower -= upper
    lower *= row_weights[:, np.newaxis, np.newaxis]
    lower += upper
    return np.rint(lower, out=lower).astype(np.uint8)


def _sample_positions(
    old_size: int, new_size: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """
    Return three arrays with an element for each new pixel of an axis: before, after, weight.

    Old pixel ``before`` and old pixel ``after`` are the two neighbours of the new pixel's position;
    ``weight`` is the weight of ``after``, from 0 to 1.
    """
    positions = np.arange(new_size, dtype=np.float32) * np.float32(old_size / new_size)
    before = np.floor(positions).astype(np.intp)
    return before, np.minimum(before + 1, old_size - 1), (positions - before).astype(np.float32)


def _resize_rows(
    rows: npt.NDArray[np.uint8],
    left: npt.NDArray[np.intp],
    right: npt.NDArray[np.intp],
    weights: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """
    Return *rows*, [rows, width, channels], with each row resized to a new width.

    *left*, *right* and *weights* come from `_sample_positions`.  The arithmetic is done in place,
    because allocating a new array takes longer than the arithmetic.
    """
    start = rows.take(left, 1).astype(np.float32)
    levels = rows.take(right, 1).astype(np.float32)
    levels -= start
    levels *= weights[:, np.newaxis]
    levels += start
    return levels
