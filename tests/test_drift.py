"""Whether the speed of the machine has changed: batcher/learning/drift.py."""

import pytest

from batcher.learning.drift import WINDOW_RUNS, Change, Drift


def expected(_: int) -> float:
    """Return the expected seconds, the same for all sizes."""
    return 3.0


@pytest.mark.parametrize(
    ("ratios", "noise", "factor"),
    [
        ([2.0] * WINDOW_RUNS, 0.05, 2.0),
        ([0.5] * WINDOW_RUNS, 0.05, 0.5),
        ([1.9, 2.1] * (WINDOW_RUNS // 2), 0.05, 2.0),
        ([2.0] * (WINDOW_RUNS - 1), 0.05, None),  # too few
        ([2.0] * (WINDOW_RUNS - 1) + [0.99], 0.05, None),  # not all of them
        ([1.09] * WINDOW_RUNS, 0.01, None),  # not by much
        ([1.2] * WINDOW_RUNS, 0.2, None),  # no more than noise explains
        ([1.002] * (WINDOW_RUNS - 1) + [500.0], 0.02, None),  # one stall
        ([2.0] * (WINDOW_RUNS - 1) + [500.0], 0.05, 2.0),
        ([0.0] * WINDOW_RUNS, 0.05, None),  # no time at all: a clock was set back
        ([1.0] * 40 + [2.0] * WINDOW_RUNS, 0.05, 2.0),
    ],
)
def test_a_change_shows_in_all_of_the_last_runs(
    ratios: list[float], noise: float, factor: float | None
) -> None:
    """The factor is their median."""
    drift = Drift()
    changes = [drift.observe(4, 3.0 * ratio, expected, noise) for ratio in ratios]
    assert changes[:-1] == [None] * (len(ratios) - 1)
    change = changes[-1]
    assert (change and change.factor) == (factor and pytest.approx(factor))


def test_a_change_has_the_noise_of_the_new_runs() -> None:
    """Around their median; without the furthest, which may be from before."""
    drift = Drift()
    ratios = [1.001, 2.2, 1.8, 2.0, 2.0, 2.0, 2.0, 500.0]
    changes = [drift.observe(4, 3.0 * ratio, expected, 0.05) for ratio in ratios]
    change = changes[-1]
    assert change is not None
    assert (change.factor, change.variance) == pytest.approx((2.0, 0.02 / 6))


def test_cleared_runs_are_no_evidence() -> None:
    """After a correction, it takes as many runs again."""
    drift = Drift()
    for _ in range(WINDOW_RUNS - 1):
        drift.observe(4, 6.0, expected, 0.05)
    drift.clear()
    assert [drift.observe(4, 6.0, expected, 0.05) for _ in range(WINDOW_RUNS - 1)] == [None] * (
        WINDOW_RUNS - 1
    )
    assert drift.observe(4, 6.0, expected, 0.05) == Change(2.0, 0.0)


def test_runs_are_compared_with_the_present_expectation() -> None:
    """A new expectation that explains them is no change."""
    drift = Drift()
    for _ in range(WINDOW_RUNS - 1):
        drift.observe(4, 6.0, expected, 0.05)
    assert drift.observe(4, 6.0, lambda _: 5.9, 0.05) is None


def test_an_expected_time_of_zero_is_no_evidence() -> None:
    """The expectation may have changed since the run: it must not be a divisor."""
    drift = Drift()
    for _ in range(WINDOW_RUNS - 1):
        drift.observe(4, 6.0, expected, 0.05)
    assert drift.observe(4, 6.0, lambda _: 0.0, 0.05) is None
