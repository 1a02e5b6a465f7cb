"""Which sizes are worth running: batcher/learning/sizes.py."""

import pytest

from batcher.learning.latency import LatencyCurve
from batcher.learning.sizes import MIN_GAIN_BEYOND_KNEE, Sizes, choose_sizes

GPU = {1: 4.1, 16: 5.6, 32: 7.2, 64: 10.4}
STAIRS = {1: 4.0, 2: 4.0, 4: 8.0}


@pytest.mark.parametrize(
    ("seconds", "cap", "rows"),
    [
        (GPU, 64, (*range(1, 65),)),  # to the knee all, measured or not
        (GPU, 40, (*range(1, 33),)),  # to the largest measured size up to the cap
        (STAIRS, 4, (1, 2)),  # only if the rate is higher than those of all smaller ones
        ({**GPU, 128: 20.8}, 128, (*range(1, 65),)),
        ({**GPU, 128: 20.7}, 128, (*range(1, 65),)),  # beyond the knee it must gain 1 %
        ({**GPU, 128: 20.5}, 128, (*range(1, 65), 128)),  # and only measured sizes do
        ({**GPU, 96: 15.3, 128: 20.5}, 128, (*range(1, 65), 96)),
        ({1: 0.0, 2: 0.0, 4: 0.0}, 4, (1, 2, 3, 4)),  # a clock was set back
    ],
)  # fmt: skip
def test_the_sizes_worth_running(
    seconds: dict[int, float], cap: int, rows: tuple[int, ...]
) -> None:
    """Each has a better rate than all smaller ones; a gain beyond the knee must be clear."""
    sizes = LatencyCurve(seconds).sizes(cap)
    assert sizes.rows == rows
    assert sizes.measured == max(size for size in seconds if size <= cap)


def test_the_rate_of_a_size_beyond_the_knee_is_lowered() -> None:
    """By the least gain; other rates are those that are predicted."""
    taken = {1: 4.0, 2: 5.0, 3: 7.4, 4: 9.0}
    sizes = choose_sizes([1, 2, 4], 4, 2, taken.__getitem__)
    assert sizes == Sizes((1, 2, 4), (0.25, 0.4, 4 / 9.0 / (1.0 + MIN_GAIN_BEYOND_KNEE)), 9.0, 4)


def test_without_measurements_no_size_is_worth_running() -> None:
    """Nor if all measured sizes are above the cap."""
    assert LatencyCurve({}).sizes(8) == LatencyCurve({16: 4.0}).sizes(8) == Sizes()
