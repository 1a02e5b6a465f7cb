"""
Compare a batch with its rows one at a time, and find the node at which they part.

Pure, but for the runs that it is handed.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt

Value = npt.NDArray[Any]

#: Returns the values of tensors that are named.
Fetch = Callable[[Sequence[str]], list[Value]]

#: How far values of some kind may lie apart, for the largest of 1 or below; any other is exact.
_TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-2}

#: Tensors that are held at once; a few rows of each of a large graph's would fill the memory.
MAX_TENSORS_PER_FETCH = 32


def tolerance(dtype: npt.DTypeLike, *within: npt.DTypeLike) -> float:
    """Return how far values of *dtype* may lie apart that were computed *within* others."""
    if np.dtype(dtype).name not in _TOLERANCES:
        return 0.0
    return max(_TOLERANCES.get(np.dtype(each).name, 0.0) for each in (dtype, *within))


def difference(value: Value, expected: Value) -> float:
    """
    Return the largest difference, over the largest of *expected* where that is above 1.

    Infinite where the shapes differ or a number is none.
    """
    if value.shape != expected.shape:
        return np.inf
    if value.size == 0:
        return 0.0
    exact = expected.astype(np.float64)
    largest = float(np.abs(value.astype(np.float64) - exact).max() / max(1.0, np.abs(exact).max()))
    return np.inf if np.isnan(largest) else largest


def rows_are_independent(value: Value, rows: Sequence[Value]) -> bool:
    """
    Whether *value*, from within a graph, is made up of *rows*, which one row alone gives each.

    The axis of the batch need not come first: some graphs move it behind that of time.
    """
    one = rows[0]
    if any(row.shape != one.shape for row in rows):
        return False
    if value.size == one.size:  # what never looks at the rows
        return all(_nearly_equal(value.ravel(), row.ravel()) for row in rows)
    if value.size != one.size * len(rows):
        return False
    return any(
        _nearly_equal(value.ravel(), np.stack([row.reshape(before, -1) for row in rows], 1).ravel())
        for before in dict.fromkeys(accumulate(one.shape, mul, initial=1))
    )


def first_row_is_distinct(rows: Sequence[Value]) -> bool:
    """Whether it would be noticed if the first of *rows* were any of the others."""
    first = rows[0]
    return not any(
        row.shape == first.shape and _nearly_equal(row.ravel(), first.ravel()) for row in rows[1:]
    )


def first_mixed_tensor(names: Sequence[str], batch: Fetch, singles: Sequence[Fetch]) -> str | None:
    """Return the first of the tensors *names* that in a *batch* is not what *singles* give."""
    for start in range(0, len(names), MAX_TENSORS_PER_FETCH):
        some = names[start : start + MAX_TENSORS_PER_FETCH]
        rows = zip(*(fetch(some) for fetch in singles), strict=True)
        for name, value, each in zip(some, batch(some), rows, strict=True):
            if not rows_are_independent(value, each):
                return name
    return None


def _nearly_equal(value: Value, expected: Value) -> bool:
    """
    Whether two vectors differ by noise alone; infinities lie within some graphs.

    Layers make noise larger, but what belongs to another row is larger still.
    """
    with np.errstate(invalid="ignore"):
        exact = expected.astype(np.float64)
        largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
        allowed = np.sqrt(tolerance(expected.dtype)) * largest
        return np.allclose(value.astype(np.float64), exact, 0.0, allowed, equal_nan=True)
