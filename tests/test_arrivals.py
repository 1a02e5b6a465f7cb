"""The arrival rate: in the long run, and of late."""

import pytest

from batcher.learning.arrivals import ArrivalRate, Arrivals
from tests.fakes.load import chance


def told(rate: ArrivalRate, start: float, stop: float, each: float, longest: float) -> Arrivals:
    """Let a row come every so many seconds, and return what is then expected."""
    now = start
    while now < stop:
        rate.observe(1, now)
        rate.expect(now, longest)
        now += each
    return rate.expect(stop, longest)


def test_nobody_came_so_nobody_is_expected() -> None:
    """Nor where no run is known to take time."""
    rate = ArrivalRate()
    assert rate.expect(9.0, 1.0) == Arrivals(0.0, 0.0)
    rate.observe(1, 9.0)
    assert rate.expect(10.0, 0.0) == Arrivals(0.0, 0.0)


@pytest.mark.parametrize("seconds", [4.0, 64.0, 512.0])
def test_a_steady_stream_has_its_rate(seconds: float) -> None:
    """From the start on, and no surge."""
    expected = told(ArrivalRate(), 0.0, seconds, 0.125, 1.0)
    assert expected.rate == pytest.approx(8.0, rel=0.05)
    assert expected.surge == pytest.approx(0.0, abs=1.0)


def test_a_burst_is_a_surge_before_it_is_a_rate() -> None:
    """Ten times as many for two of the longest runs."""
    rate = ArrivalRate()
    told(rate, 0.0, 256.0, 1.0, 1.0)
    expected = told(rate, 256.0, 258.0, 0.1, 1.0)
    assert expected.rate < 2.5
    assert expected.surge > 5.0


@pytest.mark.parametrize("rows", [1, 8])
def test_what_comes_by_chance_is_no_burst(rows: int) -> None:
    """Of independent arrivals there are always some more than usual; a surge is rarely seen."""
    source, rate, now = chance(1), ArrivalRate(), 0.0
    surges: list[float] = []
    while now < 2000.0:
        rate.observe(rows, now)
        surges.append(rate.expect(now, 1.0).surge)
        now += source.expovariate(8.0)
    assert sum(surge > 0.0 for surge in surges) < 0.2 * len(surges)
    assert sum(surges) < 2.0 * rows * len(surges)


def test_a_clock_that_is_set_back_is_borne() -> None:
    """What is expected stays, until time goes on."""
    rate = ArrivalRate()
    before = told(rate, 100.0, 164.0, 0.5, 1.0)
    assert rate.expect(50.0, 1.0) == before
    after = told(rate, 50.0, 114.0, 0.5, 1.0)
    assert after.rate == pytest.approx(2.0, rel=0.1)
