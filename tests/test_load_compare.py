"""Two servers in turn: scripts/load/compare.py."""

from scripts.load.compare import Comparison, Ratio
from tests.fakes.load import figures


def test_ratios_are_within_a_round() -> None:
    """So that a slow minute for both changes none."""
    first = [figures(rate=rate, p50_ms=4.0) for rate in (10.0, 100.0, 30.0)]
    second = [figures(rate=rate, p50_ms=2.0) for rate in (20.0, 100.0, 10.0)]
    ratios = Comparison(first, second).ratios()
    assert ratios["rate"] == Ratio(median=1.0, least=0.5, most=3.0, rounds=3)
    assert ratios["p50_ms"] == Ratio(2.0, 2.0, 2.0, 3)


def test_rounds_without_a_figure_are_left_out_of_it() -> None:
    """Endless on either side, or nothing to divide by; a figure that no round has is not there."""
    first = [figures(p99_ms=1.0, p50_ms=None), figures(p99_ms=None), figures(p99_ms=6.0, rate=1.0)]
    second = [figures(p99_ms=None), figures(p99_ms=1.0), figures(p99_ms=2.0)]
    ratios = Comparison(first, second).ratios()
    assert ratios == {"p99_ms": Ratio(3.0, 3.0, 3.0, 1)}
