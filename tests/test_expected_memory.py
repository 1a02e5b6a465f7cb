"""The memory that a version of a model is expected to need."""

import pytest

from server.repository.memory_check import expected_memory

MB = 10**6

#: The size of the files, (size, memory) of each version in memory, and what is expected.
EXPECTED = {
    "a first version": (100 * MB, [], 200 * MB),
    "as large as the one before": (100 * MB, [(100 * MB, 500 * MB)], 500 * MB),
    "larger": (110 * MB, [(100 * MB, 500 * MB)], 520 * MB),
    "smaller": (90 * MB, [(100 * MB, 500 * MB)], 480 * MB),
    "after a small first one": (50 * MB, [(0, 300 * MB)], 400 * MB),
    "after one that took little": (100 * MB, [(100 * MB, 0)], 200 * MB),
    "after several": (100 * MB, [(100 * MB, 300 * MB), (100 * MB, 400 * MB)], 400 * MB),
}


@pytest.mark.parametrize(("size", "replaced", "expected"), EXPECTED.values(), ids=EXPECTED)
def test_the_memory_of_a_version_is_that_of_the_last_ones_and_of_more_bytes(
    size: int, replaced: list[tuple[int, int]], expected: int
) -> None:
    """Memory that a load needs besides its files is not multiplied."""
    assert expected_memory(size, replaced) == expected
