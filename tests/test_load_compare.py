"""Two servers in turn: scripts/load/compare.py."""

from collections.abc import Awaitable, Callable

import pytest

from scripts.load.compare import Comparison, Ratio, compare
from scripts.load.summary import Summary
from tests.fakes.load import figures, run


def test_rounds_go_to_the_two_in_turn_each_in_the_other_order() -> None:
    """Each measurement gets the number of its round, both of a round the same."""
    asked: list[tuple[str, int]] = []

    def measure(name: str) -> Callable[[int], Awaitable[Summary]]:
        async def one(number: int) -> Summary:
            asked.append((name, number))
            return figures(rate=float(number))

        return one

    seen = Comparison()
    run(compare((measure("a"), measure("b")), 3, seen))
    assert asked == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert [each.rate for each in seen.first] == [each.rate for each in seen.second] == [0, 1, 2]


def test_a_round_that_was_cut_short_is_left_out() -> None:
    """Those before it are kept."""

    async def one(number: int) -> Summary:
        return figures(rate=float(number))

    async def other(number: int) -> Summary:
        if number == 2:
            raise KeyboardInterrupt
        return figures()

    seen = Comparison()
    with pytest.raises(KeyboardInterrupt):
        run(compare((one, other), 5, seen))
    assert [each.rate for each in seen.first] == [0, 1]
    assert len(seen.second) == 2


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
