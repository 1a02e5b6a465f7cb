"""
Resize as TensorFlow 1 does: ``ResizeBilinear`` without antialiasing, corners at the upper left.

label_image and the graphs that are retrained for it see images this way.  Pure.
"""

import numpy as np
import numpy.typing as npt


def resize_as_tensorflow(
    pixels: npt.NDArray[np.uint8], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """
    Return *pixels*, uint8 [height, width, channels], in the size given, rounded to whole levels.

    The value of a pixel at (y, x) is read at (y * old height / height, x * old width / width),
    between the four pixels around that place; other pixels have no weight.
    """
    above, below, down = _places(pixels.shape[0], height)
    columns = _places(pixels.shape[1], width)
    upper = _across(pixels.take(above, 0), *columns)
    lower = _across(pixels.take(below, 0), *columns)
    lower -= upper
    lower *= down[:, np.newaxis, np.newaxis]
    lower += upper
    return np.rint(lower, out=lower).astype(np.uint8)


def _places(
    size: int, wanted: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return, for each of *wanted* places, the pixel before it, the next, and how far between."""
    places = np.arange(wanted, dtype=np.float32) * np.float32(size / wanted)
    before = np.floor(places).astype(np.intp)
    return before, np.minimum(before + 1, size - 1), (places - before).astype(np.float32)


def _across(
    rows: npt.NDArray[np.uint8],
    left: npt.NDArray[np.intp],
    right: npt.NDArray[np.intp],
    part: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return *rows* in the new width; in place, since arrays of this size cost more than sums."""
    start = rows.take(left, 1).astype(np.float32)
    levels = rows.take(right, 1).astype(np.float32)
    levels -= start
    levels *= part[:, np.newaxis]
    levels += start
    return levels
