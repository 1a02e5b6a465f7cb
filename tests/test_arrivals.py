"""The arrival rate, in the long run and recently: batcher/learning/arrivals.py."""

import pytest

from batcher.learning.arrivals import ArrivalRate, Arrivals
from tests.fakes.load import chance


def steady(rate: ArrivalRate, start: float, stop: float, each: float, longest: float) -> Arrivals:
    """Let a row arrive every *each* seconds, and return what is then expected."""
    now = start
    while now < stop:
        rate.observe(1, now)
        rate.update(now, longest)
        now += each
    return rate.update(stop, longest)


def test_without_arrivals_none_are_expected() -> None:
    """Nor while no run is known to take time."""
    rate = ArrivalRate()
    assert rate.expect(9.0, 1.0) == Arrivals(0.0, 0.0)
    rate.observe(1, 9.0)
    assert rate.expect(10.0, 0.0) == Arrivals(0.0, 0.0)


@pytest.mark.parametrize("seconds", [4.0, 64.0, 512.0])
def test_a_steady_stream_has_its_rate(seconds: float) -> None:
    """From the start on, without a surge."""
    expected = steady(ArrivalRate(), 0.0, seconds, 0.125, 1.0)
    assert expected.rate == pytest.approx(8.0, rel=0.05)
    assert expected.surge == pytest.approx(0.0, abs=1.0)


def test_a_burst_is_a_surge_before_it_is_a_rate() -> None:
    """Ten times as many for two of the longest runs."""
    rate = ArrivalRate()
    steady(rate, 0.0, 256.0, 1.0, 1.0)
    expected = steady(rate, 256.0, 258.0, 0.1, 1.0)
    assert expected.rate < 2.5
    assert expected.surge > 5.0


@pytest.mark.parametrize("rows", [1, 8])
def test_chance_is_no_burst(rows: int) -> None:
    """Independent arrivals scatter; a surge is rarely expected."""
    source, rate, now = chance(1), ArrivalRate(), 0.0
    surges: list[float] = []
    while now < 2000.0:
        rate.observe(rows, now)
        surges.append(rate.update(now, 1.0).surge)
        now += source.expovariate(8.0)
    assert sum(surge > 0.0 for surge in surges) < 0.2 * len(surges)
    assert sum(surges) < 2.0 * rows * len(surges)


def test_a_clock_that_is_set_back_has_no_effect() -> None:
    """The expectation stays until the time advances again."""
    rate = ArrivalRate()
    before = steady(rate, 100.0, 164.0, 0.5, 1.0)
    assert rate.update(50.0, 1.0) == before
    later = steady(rate, 50.0, 114.0, 0.5, 1.0)
    assert later.rate == pytest.approx(2.0, rel=0.1)


def test_reading_the_expectation_changes_nothing() -> None:
    """It is that of an update at the same time, however often it is read."""
    read, other = ArrivalRate(), ArrivalRate()
    for rate in (read, other):
        steady(rate, 0.0, 64.0, 0.5, 1.0)
    for second in range(65, 80):
        read.expect(float(second), 1.0)
    assert read.expect(80.0, 1.0) == other.update(80.0, 1.0) == read.update(80.0, 1.0)
    assert other.expect(80.0, 1.0).rate < 2.0
