"""The policy compared with the optimum, where that can be computed."""

from math import ceil, log2

import pytest

from batcher.learning.arrivals import Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.policy import LaneView, Launch, LotPolicy, QueueView
from tests.value_iteration import Rule, Station, mean_latency, optimum

#: Milliseconds of a run of 1, 2, ... rows.
CURVES = {
    "gpu": tuple(4.0 + 0.1 * rows for rows in range(1, 33)),
    "padded": tuple(4.0 + 0.1 * 2 ** ceil(log2(rows)) for rows in range(1, 33)),
    "cpu": tuple(2.0 + 12.0 * rows for rows in range(1, 17)),
    "half and half": tuple(10.0 + 10.0 * rows for rows in range(1, 9)),
    "power": tuple(3.0 * rows**0.7 for rows in range(1, 17)),
    "tiles": tuple(5.0 + 1.5 * ceil(rows / 8) for rows in range(1, 33)),
    "knee": tuple(6.0 + 0.5 * min(rows, 8) + 2.0 * max(0, rows - 8) for rows in range(1, 17)),
}

QUICK, MORE = (0.05, 0.7, 0.95), (0.3, 0.5, 0.9)  #: loads

CASES = [
    pytest.param(name, load, marks=[pytest.mark.full] if load in MORE else [])
    for name in CURVES
    for load in sorted(QUICK + MORE)
]


def station(name: str, load: float) -> Station:
    """Return the lane with a curve, at a share of its best rate."""
    seconds = tuple(taken / 1e3 for taken in CURVES[name])
    best = max(rows / taken for rows, taken in enumerate(seconds, start=1))
    return Station(load * best, seconds)


def greedy(lane: Station) -> Rule:
    """Return the rule that never waits, and launches at most the size with the best rate."""
    rates = [rows / taken for rows, taken in enumerate(lane.seconds, start=1)]
    quickest = 1 + rates.index(max(rates))
    return lambda rows: min(rows, quickest)


def lot(lane: Station) -> Rule:
    """Return the rule of the lot policy with known l(b) and rate."""
    curve = LatencyCurve(dict(enumerate(lane.seconds, start=1)))

    def rule(rows: int) -> int:
        queue = QueueView(rows, 0.0, latency=curve, arrivals=Arrivals(lane.rate))
        made = LotPolicy().decide(0.0, queue, LaneView(1, 1, lane.cap))
        return made.rows if isinstance(made, Launch) else 0

    return rule


@pytest.mark.parametrize(
    ("load", "flush_all", "best"), [(0.3, 18.268, 17.739), (0.7, 40.227, 38.256)]
)
def test_the_solver_finds_known_optima(load: float, flush_all: float, best: float) -> None:
    """Milliseconds of 2 + 12 b up to 32 rows, to 0.2 %."""
    seconds = tuple((2.0 + 12.0 * rows) / 1e3 for rows in range(1, 33))
    lane = Station(load * 32 / seconds[-1], seconds)
    assert mean_latency(lane, lambda rows: min(rows, 32)) == pytest.approx(flush_all / 1e3, 2e-3)
    assert optimum(lane)[0] == pytest.approx(best / 1e3, 2e-3)


@pytest.mark.parametrize(("name", "load"), CASES)
def test_the_policy_is_near_the_optimum(name: str, load: float) -> None:
    """Within 1.5 % of the least mean latency, and at most 1 % above greedy."""
    lane = station(name, load)
    mean = mean_latency(lane, lot(lane))
    assert mean <= 1.015 * optimum(lane)[0]
    assert mean <= 1.01 * mean_latency(lane, greedy(lane))
