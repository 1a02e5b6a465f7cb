"""Histograms of many values: server/metrics/histogram.py."""

import pytest

from server.metrics.counts import HistogramCounts
from server.metrics.histogram import DURATION_BOUNDS, MAX_STORED_OBSERVATIONS, HistogramBuffer


def test_each_series_counts_its_own_values() -> None:
    """A value that equals a bound is below it; the last bucket has no bound."""
    buffer = HistogramBuffer((1.0, 2.0), ("queue", "run"))
    empty = HistogramCounts((1.0, 2.0), (0, 0, 0), 0.0)
    assert buffer.read() == {"queue": empty, "run": empty}
    for values in ((0.5, 2.0), (1.0, 2.5), (1.5, 0.0)):
        buffer.observe(values)
    assert buffer.read() == {
        "queue": HistogramCounts((1.0, 2.0), (2, 1, 0), 3.0),
        "run": HistogramCounts((1.0, 2.0), (1, 1, 1), 4.5),
    }
    buffer.observe((9.0, 0.5))
    assert buffer.read()["queue"] == HistogramCounts((1.0, 2.0), (2, 1, 1), 12.0)


def test_a_full_buffer_is_counted_and_none_is_lost() -> None:
    """However many values there are, only a limited number is stored."""
    buffer = HistogramBuffer(DURATION_BOUNDS, ("a", "b", "c"))
    count = 2 * MAX_STORED_OBSERVATIONS + 1
    for number in range(count):
        buffer.observe((0.25, number, 0.0))
        assert len(buffer._stored) < 3 * MAX_STORED_OBSERVATIONS
    read = buffer.read()
    assert [sum(read[name].counts) for name in "abc"] == [count] * 3
    assert [read[name].sum for name in "abc"] == [count / 4, count * (count - 1) / 2, 0.0]
    assert read["a"].counts[DURATION_BOUNDS.index(0.25)] == read["c"].counts[0] == count


@pytest.mark.parametrize(("bounds", "series"), [((2.0, 1.0), "a"), ((1.0, 1.0), "a"), ((1.0,), "")])
def test_bounds_ascend_and_there_is_a_series(bounds: tuple[float, ...], series: str) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ValueError, match="needs a series"):
        HistogramBuffer(bounds, tuple(series))
