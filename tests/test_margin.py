"""The admission margin after missed and met deadlines: batcher/learning/margin.py."""

import pytest

from batcher.learning.margin import MAX_FACTOR, MISS_STEP, TARGET_MISS_SHARE, AdmissionMargin


def test_a_miss_raises_the_factor_and_many_met_deadlines_lower_it() -> None:
    """By a fifth, and back by one in 2,500 each; never below 1."""
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


def test_one_late_batch_in_five_hundred_keeps_the_factor() -> None:
    """`TARGET_MISS_SHARE` is 0.002."""
    margin = AdmissionMargin()
    for number in range(5):
        margin.missed(now=float(number), pause=1.0)
    before = margin.factor
    for number in range(5, 15):
        margin.missed(now=float(number), pause=1.0)
        for _ in range(500):
            margin.met(1.0)
    assert margin.factor == pytest.approx(before, rel=0.001)


def test_simultaneous_misses_count_as_one() -> None:
    """Within the time of one run; also after a clock was set back."""
    margin = AdmissionMargin()
    for now in (8.0, 8.0, 8.5, 8.75):
        margin.missed(now, pause=1.0)
    assert margin.factor == pytest.approx(1.2)
    margin.missed(9.0, pause=1.0)
    assert margin.factor == pytest.approx(1.2**2)
    margin.missed(2.0, pause=1.0)
    assert margin.factor == pytest.approx(1.2**3)


def test_a_deadline_met_unexpectedly_takes_one_miss_back() -> None:
    """Completely; the factor is never below 1."""
    margin = AdmissionMargin()
    margin.missed(now=8.0, pause=1.0)
    margin.missed(now=9.0, pause=1.0)
    margin.met_unexpectedly()
    assert margin.factor == pytest.approx(1.2)
    for _ in range(2):
        margin.met_unexpectedly()
    assert margin.factor == 1.0


def test_the_factor_has_a_limit() -> None:
    """For any number of misses."""
    margin = AdmissionMargin()
    for now in range(100):
        margin.missed(float(now), pause=0.5)
    assert margin.factor == MAX_FACTOR


def test_only_batches_with_little_time_left_lower_the_factor() -> None:
    """Half of their time, divided by the factor: with a factor of 2, a quarter counts."""
    margin = AdmissionMargin()
    for now in range(4):
        margin.missed(float(now), pause=0.5)
    before = margin.factor
    margin.met(0.2)
    assert margin.factor == before
    margin.met(0.25)
    assert margin.factor < before
