"""The highest rate that keeps an SLO: scripts/load/search.py."""

from collections.abc import Callable
from math import inf

import pytest

from scripts.load.search import (
    CURVE_SHARES,
    MAX_BOUNDS_RATIO,
    MAX_LOADS,
    Point,
    bounds,
    find_slo,
    next_rate,
)
from scripts.load.summary import Summary
from tests.fakes.load import chance, figures, run

#: The share of good answers at a rate; the number is that of the load.
Server = Callable[[float, int], float]


def found(server: Server, first: float) -> tuple[float | None, list[Point], list[Point]]:
    """Return the rate that a search finds on *server*, its curve, and all points in their order."""
    measured: list[Point] = []

    async def measure(rate: float, number: int) -> Summary:
        assert number == len(measured)
        return figures(sent=100, good_share=server(rate, number))

    best, curve = run(find_slo(measure, first, measured.append))
    return best, curve, measured


def points(kept: list[float], broke: list[float]) -> list[Point]:
    """Return points at these rates."""
    good, bad = figures(sent=1, good_share=1.0), figures(sent=1, good_share=0.98)
    return [*(Point(rate, good) for rate in kept), *(Point(rate, bad) for rate in broke)]


def knee(rate: float) -> Server:
    """Return a server that keeps the SLO up to *rate*."""
    return lambda asked, _: 1.0 if asked <= rate else 0.5


def twice(first: float, second: float) -> Server:
    """Return a server that keeps the SLO below *first*, and at a later try below *second* alone."""
    seen: set[float] = set()

    def server(rate: float, _: int) -> float:
        again = rate in seen
        seen.add(rate)
        return 1.0 if rate < (second if again else first) else 0.5

    return server


@pytest.mark.parametrize(
    ("server", "least", "most"),
    [
        *(
            (knee(rate), rate / MAX_BOUNDS_RATIO, rate)
            for rate in (60.0, 99.0, 100.0, 250.0, 3000.0)
        ),
        (twice(100, 90), 90 / MAX_BOUNDS_RATIO, 89.999),
        # a part of the curve that breaks is no rate to rely on
        (lambda rate, _: 0.5 if 40 < rate < 60 or rate > 100 else 1.0, 0.0, 40.0),
        (lambda *_: 1.0, 1000.0, inf),
        (lambda *_: 0.0, None, None),
    ],
)
def test_the_knee_is_found_within_5_per_cent(
    server: Server, least: float | None, most: float | None
) -> None:
    """From below and from above, measured twice; the curve goes down to a quarter of it."""
    best, curve, measured = found(server, 100.0)
    assert len(measured) <= MAX_LOADS
    assert [point.rate for point in curve] == sorted(point.rate for point in measured)
    if best is None or least is None or most is None:
        assert best is least is most is None
        assert len(curve) <= MAX_LOADS - len(CURVE_SHARES)
        assert 0.5 < curve[0].rate < 1.5  # about a hundredth of where it began
        return
    assert least <= best <= most
    if most == inf:  # the search ends although everything keeps the SLO
        assert len(measured) == MAX_LOADS
        assert best == max(point.rate for point in measured)
    elif least:
        assert [point.rate for point in measured].count(best) == 2
        assert {best * share for share in CURVE_SHARES} <= {point.rate for point in curve}


def test_99_in_100_are_enough_and_a_load_of_nothing_proves_nothing() -> None:
    """A load without requests keeps no SLO."""
    assert Point(1.0, figures(sent=100, good_share=0.99)).keeps_slo
    assert not Point(1.0, figures(sent=100, good_share=0.9899)).keeps_slo
    assert not Point(1.0, figures(sent=0, good_share=1.0)).keeps_slo


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_keep_a_search_going(seed: int) -> None:
    """It ends, and what it found has not broken."""
    noise = chance(seed)

    def server(rate: float, _: int) -> float:
        return 1.0 if rate * noise.uniform(0.7, 1.3) < 100 else 0.9

    best, _, measured = found(server, 70.0)
    assert len(measured) <= MAX_LOADS
    assert best is not None
    broken = [point.rate for point in measured[: -len(CURVE_SHARES)] if not point.keeps_slo]
    assert all(best < rate for rate in broken)


@pytest.mark.parametrize(
    ("kept", "broke", "expected"),
    [
        ([], [], (None, None)),
        ([10.0, 20.0], [], (20.0, None)),
        ([], [30.0, 40.0], (None, 30.0)),
        ([10.0, 20.0], [30.0], (20.0, 30.0)),
        ([10.0, 20.0, 50.0], [30.0], (20.0, 30.0)),
        ([20.0], [20.0], (None, 20.0)),
    ],
)
def test_the_bounds_lie_around_the_knee(
    kept: list[float], broke: list[float], expected: tuple[float | None, float | None]
) -> None:
    """A rate above one that broke keeps nothing."""
    assert bounds(points(kept, broke)) == expected


@pytest.mark.parametrize(
    ("kept", "broke", "expected"),
    [
        ([], [], 100.0),
        ([100.0], [], 150.0),
        ([], [100.0], 100 / 1.5),
        ([], [1.01], 1.01 / 1.5),
        ([], [1.0], None),
        ([100.0], [400.0], 200.0),
        ([100.0], [105.0], None),
    ],
)
def test_the_next_rate_follows_from_the_bounds(
    kept: list[float], broke: list[float], expected: float | None
) -> None:
    """None when they are close, or there is no hope."""
    assert next_rate(points(kept, broke), 100.0) == expected
