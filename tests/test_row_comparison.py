"""Comparing a batch with its rows: TensorFlow's trials/row_comparison.py."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.backends.tensorflow.trials.row_comparison import (
    difference,
    first_mixed_tensor,
    first_row_is_distinct,
    rows_are_independent,
    tolerance,
)

ROWS = [np.arange(12, dtype=np.float32).reshape(4, 1, 3) * (row + 1) for row in range(5)]


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["float32"], 1e-5),
        (["float64", "int32"], 1e-5),
        (["float32", "float16"], 1e-2),
        (["float16"], 1e-2),
        (["int64", "float16"], 0),
        (["uint8"], 0),
    ],
)
def test_the_least_precise_dtype_sets_the_tolerance(dtypes: list[str], expected: float) -> None:
    """Integers must be equal, whatever dtypes they are computed with."""
    assert tolerance(*dtypes) == expected


@pytest.mark.parametrize(
    ("value", "expected", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.1, 0.2], [0.1, 0.3], 0.1),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
        ([1.0], [1.0, 2.0], np.inf),
        ([], [], 0),
    ],
)
def test_the_difference_is_measured_by_the_largest_number(
    value: list[float], expected: list[float], apart: float
) -> None:
    """Where that is above 1; NaN has an infinite difference."""
    assert difference(np.array(value), np.array(expected)) == pytest.approx(apart)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rows_may_be_stacked_along_any_axis(axis: int) -> None:
    """Along the axis behind time, in some graphs."""
    stacked = np.stack(ROWS, axis)
    assert rows_are_independent(stacked, ROWS)
    assert not rows_are_independent(np.flip(stacked, axis), ROWS)


def test_rows_that_were_mixed_or_lost_are_detected() -> None:
    """Also where the number of elements is right."""
    mixed = np.stack(ROWS)
    mixed[3] += 1
    assert not rows_are_independent(mixed, ROWS)
    assert not rows_are_independent(np.stack(ROWS[:4]), ROWS)
    assert not rows_are_independent(np.mean(ROWS, axis=0), ROWS)
    assert not rows_are_independent(np.stack(ROWS), [*ROWS[:4], ROWS[4][:2]])


def test_a_tensor_that_does_not_depend_on_the_rows_equals_each_row() -> None:
    """It is the same for one row and for many; some graphs use infinities as a mask."""
    mask = np.array([0.0, -np.inf, np.nan])
    assert rows_are_independent(mask, [mask] * 5)
    assert rows_are_independent(np.zeros((5, 0)), [np.zeros((1, 0))] * 5)


def test_rows_that_differ_only_by_noise_are_equal() -> None:
    """Such rows cannot show whether a batch mixes them."""
    noisy = [row * np.float32(1 + 1e-6 * number) for number, row in enumerate([ROWS[0]] * 5)]
    assert rows_are_independent(np.stack(noisy[::-1]), noisy)
    assert not first_row_is_distinct(noisy)
    assert first_row_is_distinct(ROWS)
    assert first_row_is_distinct([ROWS[0], ROWS[0][:2]])


def test_the_first_tensor_that_differs_is_found_among_any_number() -> None:
    """Some at a time, and no tensor behind it is fetched."""
    asked = list[str]()

    def batch(names: Sequence[str]) -> list[np.ndarray]:
        asked.extend(names)
        return [np.stack(ROWS) + (int(name) >= 40) for name in names]

    singles = [lambda names, row=row: [row] * len(names) for row in ROWS]
    names = [str(number) for number in range(100)]
    assert first_mixed_tensor(names, batch, singles) == "40"
    assert asked == names[:64]
    assert first_mixed_tensor(names[:40], batch, singles) is None
