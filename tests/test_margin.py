"""The margin of admission, after late and timely requests: batcher/learning/margin.py."""

import pytest

from batcher.learning.margin import MAX_FACTOR, MISS_STEP, TARGET_MISS_SHARE, AdmissionMargin


def test_whoever_is_late_raises_the_factor_and_many_in_time_lower_it_again() -> None:
    """By a fifth, and back by one in 2,500 each; never below one."""
    margin = AdmissionMargin()
    assert margin.factor == 1.0
    margin.missed(now=8.0, pause=1.0)
    assert margin.factor == pytest.approx(1.0 + MISS_STEP)
    for _ in range(50):
        margin.met(1.0)
    assert margin.factor == pytest.approx(1.2 * (1.0 + MISS_STEP) ** (-TARGET_MISS_SHARE * 50))
    for _ in range(5000):
        margin.met(1.0)
    assert margin.factor == 1.0


def test_one_late_batch_in_five_hundred_leaves_it_where_it_is() -> None:
    """Which is what it aims at."""
    margin = AdmissionMargin()
    for number in range(5):
        margin.missed(now=float(number), pause=1.0)
    before = margin.factor
    for number in range(5, 15):
        margin.missed(now=float(number), pause=1.0)
        for _ in range(500):
            margin.met(1.0)
    assert margin.factor == pytest.approx(before, rel=0.001)


def test_all_who_are_late_together_count_as_one() -> None:
    """Within the time of one run; a clock that was set back is no excuse."""
    margin = AdmissionMargin()
    for now in (8.0, 8.0, 8.5, 8.75):
        margin.missed(now, pause=1.0)
    assert margin.factor == pytest.approx(1.2)
    margin.missed(9.0, pause=1.0)
    assert margin.factor == pytest.approx(1.2**2)
    margin.missed(2.0, pause=1.0)
    assert margin.factor == pytest.approx(1.2**3)


def test_whoever_came_in_time_against_expectation_takes_one_lateness_back() -> None:
    """All of it; never below one."""
    margin = AdmissionMargin()
    margin.missed(now=8.0, pause=1.0)
    margin.missed(now=9.0, pause=1.0)
    margin.met_unexpectedly()
    assert margin.factor == pytest.approx(1.2)
    for _ in range(2):
        margin.met_unexpectedly()
    assert margin.factor == 1.0


def test_the_factor_has_a_limit() -> None:
    """However many are late."""
    margin = AdmissionMargin()
    for now in range(100):
        margin.missed(float(now), pause=0.5)
    assert margin.factor == MAX_FACTOR


def test_only_batches_with_little_time_left_tell_that_less_caution_would_do() -> None:
    """Half of their time, divided by the factor: with twice the caution, a quarter tells."""
    margin = AdmissionMargin()
    for now in range(4):
        margin.missed(float(now), pause=0.5)
    before = margin.factor
    margin.met(0.2)
    assert margin.factor == before
    margin.met(0.25)
    assert margin.factor < before
