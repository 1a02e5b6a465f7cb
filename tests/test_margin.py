"""The margin of admission, after late and timely requests: batcher/learning/margin.py."""

import pytest

from batcher.learning.margin import LATE, MOST, STEP, Caution


def test_whoever_is_late_raises_the_factor_and_many_in_time_lower_it_again() -> None:
    """By a fifth, and back by one in 2,500 each; never below one."""
    caution = Caution()
    assert caution.factor == 1.0
    caution.late(now=8.0, pause=1.0)
    assert caution.factor == pytest.approx(1.0 + STEP)
    for _ in range(50):
        caution.in_time(1.0)
    assert caution.factor == pytest.approx(1.2 * (1.0 + STEP) ** (-LATE * 50))
    for _ in range(5000):
        caution.in_time(1.0)
    assert caution.factor == 1.0


def test_one_late_batch_in_five_hundred_leaves_it_where_it_is() -> None:
    """Which is what it aims at."""
    caution = Caution()
    for number in range(5):
        caution.late(now=float(number), pause=1.0)
    before = caution.factor
    for number in range(5, 15):
        caution.late(now=float(number), pause=1.0)
        for _ in range(500):
            caution.in_time(1.0)
    assert caution.factor == pytest.approx(before, rel=0.001)


def test_all_who_are_late_together_count_as_one() -> None:
    """Within the time of one run; a clock that was set back is no excuse."""
    caution = Caution()
    for now in (8.0, 8.0, 8.5, 8.75):
        caution.late(now, pause=1.0)
    assert caution.factor == pytest.approx(1.2)
    caution.late(9.0, pause=1.0)
    assert caution.factor == pytest.approx(1.2**2)
    caution.late(2.0, pause=1.0)
    assert caution.factor == pytest.approx(1.2**3)


def test_whoever_came_in_time_against_expectation_takes_one_lateness_back() -> None:
    """All of it; never below one."""
    caution = Caution()
    caution.late(now=8.0, pause=1.0)
    caution.late(now=9.0, pause=1.0)
    caution.overdone()
    assert caution.factor == pytest.approx(1.2)
    for _ in range(2):
        caution.overdone()
    assert caution.factor == 1.0


def test_the_factor_has_a_limit() -> None:
    """However many are late."""
    caution = Caution()
    for now in range(100):
        caution.late(float(now), pause=0.5)
    assert caution.factor == MOST


def test_only_batches_with_little_time_left_tell_that_less_caution_would_do() -> None:
    """Half of their time, divided by the factor: with twice the caution, a quarter tells."""
    caution = Caution()
    for now in range(4):
        caution.late(float(now), pause=0.5)
    before = caution.factor
    caution.in_time(0.2)
    assert caution.factor == before
    caution.in_time(0.25)
    assert caution.factor < before
