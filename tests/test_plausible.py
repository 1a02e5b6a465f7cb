"""Run times that are monotone and subadditive: batcher/learning/plausible.py."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.learning.plausible import plausible

MEASURED = st.dictionaries(
    st.integers(1, 24),
    st.tuples(st.floats(1e-6, 10.0), st.floats(1e-6, 100.0)),
    min_size=1,
    max_size=6,
)


def excess(seconds: Sequence[float]) -> float:
    """Return by how much a run is too quick for its rows, or longer than two that have as many."""
    falls = [less - more for less, more in pairwise(seconds)]
    parts = [
        seconds[one + other] - seconds[one] - seconds[other]
        for one in range(1, len(seconds))
        for other in range(one, len(seconds) - one)
    ]
    return max([0.0, *falls, *parts])


@pytest.mark.parametrize(
    ("seconds", "weights", "expected"),
    [
        ({}, [], [0.0]),
        ({2: 3.0}, [1.0], [0.0, 3.0, 3.0]),  # fewer rows take as long
        ({1: 4.0, 4: 7.0}, [1.0, 1.0], [0.0, 4.0, 5.0, 6.0, 7.0]),  # linear between
        ({1: 5.0, 2: 3.0}, [1.0, 1.0], [0.0, 4.0, 4.0]),  # the mean where it falls
        ({1: 5.0, 2: 3.0}, [3.0, 1.0], [0.0, 4.5, 4.5]),  # by their weights
        ({1: 6.0, 2: 3.0, 3: 3.0}, [1.0, 1.0, 1.0], [0.0, 4.0, 4.0, 4.0]),
        ({1: 1.0, 2: 5.0, 3: 3.0}, [1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0]),
        ({1: 4.0, 2: 12.0}, [1.0, 9.0], [0.0, 4.0, 8.0]),  # no longer than its parts
        ({2: 1.0, 6: 9.0}, [1.0, 1.0], [0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
    ],
)  # fmt: skip
def test_contradictions_are_resolved(
    seconds: dict[int, float], weights: list[float], expected: list[float]
) -> None:
    """By the weighted mean if times fall, else by lowering the larger size."""
    assert plausible(seconds, weights) == pytest.approx(expected)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(MEASURED)
def test_all_times_are_plausible(measured: dict[int, tuple[float, float]]) -> None:
    """For all pairs of sizes, measured or not; and such times are not changed again."""
    rows = sorted(measured)
    result = plausible({at: measured[at][0] for at in rows}, [measured[at][1] for at in rows])
    assert len(result) == rows[-1] + 1
    assert excess(result) < 1e-9
    again = plausible(dict(enumerate(result[1:], start=1)), [1.0] * rows[-1])
    assert again == pytest.approx(result)
