"""The figures of a simulation: scripts/simulation/figures.py."""

from math import inf

import pytest

from scripts.simulation.engine import History
from scripts.simulation.figures import figures_of


def history(*latencies: float, every: float = 1.0) -> History:
    """Return a history with these *latencies*, *every* s between arrivals; inf: no answer."""
    due = [1000.0 + every * number for number in range(len(latencies))]
    return History(due, [at + each for at, each in zip(due, latencies, strict=True)])


def test_the_first_fifth_is_left_out() -> None:
    """Of latencies, of refused and dropped requests, and of runs."""
    seen = history(9.0, 9.0, inf, inf, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0)
    seen.refused += [1, 2]
    seen.dropped += [0, 3]
    seen.runs += [(0, 1), (1, 2), (4, 3), (7, 4)]
    found = figures_of(seen)
    assert (found.requests, found.refused, found.dropped) == (8, 1, 1)
    assert (found.mean_ms, found.p50_ms, found.p99_ms) == (2000.0, 2000.0, 3000.0)
    assert (found.runs, found.mean_rows) == (2, 3.5)


def test_goodput_counts_answers_in_time() -> None:
    """Per second, and as a share of all requests; all answers without an SLO."""
    seen = history(9.0, 9.0, 1.0, 2.0, inf, 1.0, 1.0, 1.0, 1.0, 1.0, every=0.5)
    found = figures_of(seen, slo=1.5)
    assert found.offered == 8 / 3.5
    assert (found.rate, found.goodput, found.goodput_share) == (7 / 3.5, 6 / 3.5, 0.75)
    assert figures_of(seen).goodput_share == 7 / 8


def test_the_rate_of_an_overload_is_that_of_the_answers() -> None:
    """Not that of the requests."""
    found = figures_of(history(*(2.0 * number for number in range(100))))
    assert found.offered == 80 / 79
    assert found.rate == found.goodput == 80 / (79 * 3)


@pytest.mark.parametrize("seen", [history(inf), history(inf, inf, inf)])
def test_without_answers_there_are_no_latencies(seen: History) -> None:
    """And no goodput."""
    found = figures_of(seen)
    assert (found.mean_ms, found.p50_ms, found.p99_ms, found.mean_rows) == (None,) * 4
    assert found.goodput_share == 0.0


def test_a_single_request_has_no_rate() -> None:
    """No time passes between first and last request."""
    found = figures_of(history(1.0))
    assert (found.mean_ms, found.rate, found.offered, found.goodput) == (1000.0, None, None, None)
