"""
Compare a batch with single runs of its rows, and find the first tensor that differs.

Pure, except that it calls the functions that fetch tensors.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt

Value = npt.NDArray[Any]

#: Returns the values of tensors by name.
Fetch = Callable[[Sequence[str]], list[Value]]

#: Largest difference by dtype, for values up to 1; other dtypes must be equal.
_TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-2}

#: Tensors fetched at once: those of all nodes of a large graph would fill the memory.
MAX_TENSORS_PER_FETCH = 32


def tolerance(dtype: npt.DTypeLike, *within: npt.DTypeLike) -> float:
    """
    Return the largest allowed difference between two values of *dtype*.

    *within* are the other dtypes of the computation; the least exact of all these dtypes determines
    the result.  The result is 0 for a *dtype* without rounding, such as an integer.
    """
    if np.dtype(dtype).name not in _TOLERANCES:
        return 0.0
    return max(_TOLERANCES.get(np.dtype(each).name, 0.0) for each in (dtype, *within))


def difference(value: Value, expected: Value) -> float:
    """
    Return the largest difference between *value* and *expected*.

    If the largest magnitude in *expected* is above 1, the difference is divided by it.  The result
    is infinite if the shapes differ or a difference is NaN.
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
    Whether *value* consists of *rows*, in their order.

    *value* is a tensor in the run of a batch; *rows* are the values of this tensor in single runs
    of the batch's rows.  The batch axis may be any axis: some graphs move it behind the time axis.
    """
    one = rows[0]
    if any(row.shape != one.shape for row in rows):
        return False
    if value.size == one.size:  # a tensor that does not depend on the rows
        return all(_nearly_equal(value.ravel(), row.ravel()) for row in rows)
    if value.size != one.size * len(rows):
        return False
    return any(
        _nearly_equal(value.ravel(), np.stack([row.reshape(before, -1) for row in rows], 1).ravel())
        for before in dict.fromkeys(accumulate(one.shape, mul, initial=1))
    )


def first_row_is_distinct(rows: Sequence[Value]) -> bool:
    """Whether the first of *rows* differs from all others, so that a mix-up is detected."""
    first = rows[0]
    return not any(
        row.shape == first.shape and _nearly_equal(row.ravel(), first.ravel()) for row in rows[1:]
    )


def first_mixed_tensor(names: Sequence[str], batch: Fetch, singles: Sequence[Fetch]) -> str | None:
    """
    Return the first of the tensors *names* that has mixed rows; None if none has.

    *batch* fetches tensors from a run of the batch, and each of *singles* from the run of one row.
    """
    for start in range(0, len(names), MAX_TENSORS_PER_FETCH):
        some = names[start : start + MAX_TENSORS_PER_FETCH]
        rows = zip(*(fetch(some) for fetch in singles), strict=True)
        for name, value, each in zip(some, batch(some), rows, strict=True):
            if not rows_are_independent(value, each):
                return name
    return None


def _nearly_equal(value: Value, expected: Value) -> bool:
    """
    Whether two vectors differ only by rounding; infinities and NaN must be equal.

    Layers amplify rounding errors, so the allowed difference is larger than for outputs: the square
    root of `tolerance`, relative to the largest number.  The values of another row differ by more.
    """
    with np.errstate(invalid="ignore"):
        exact = expected.astype(np.float64)
        largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
        allowed = np.sqrt(tolerance(expected.dtype)) * largest
        return np.allclose(value.astype(np.float64), exact, 0.0, allowed, equal_nan=True)
