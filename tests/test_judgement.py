"""The policy compared with tuned settings, reduced: scripts/simulation/judgement.py."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from batcher.learning.latency import LatencyCurve
from batcher.policy import IDLE, LaneView, LotPolicy, QueueView
from benchmarks import judgement as command
from scripts.simulation.cases import SERVICES, Closed, Open
from scripts.simulation.changing import (
    CHANGES,
    MACHINES,
    Changing,
    Watched,
    factors,
)
from scripts.simulation.engine import START
from scripts.simulation.judgement import Case, Found, Verdict, judged
from scripts.simulation.workloads import Chance

#: The bounds against tuned settings that hold for each case, not only on average.
WITHIN = ("mean to tuned, to load", "mean to tuned, beyond", "p99 to tuned")


def failed(cases: Sequence[Case], seeds: range) -> list[Verdict]:
    """Simulate *cases*, and return the verdicts on the bounds that do not hold."""
    found = {case: [case.play(seed) for seed in seeds] for case in cases}
    return [verdict for verdict in judged(found) if not verdict.passed]


@pytest.mark.parametrize(
    "case",
    [
        Open("gpu", "poisson", 0.5, 4000),
        Open("pad", "mmpp", 0.7, 4000),
        Open("cpu", "poisson", 0.7, 4000),
        Closed(0.0, 8, 1000),
        Closed(0.0003, 16, 1000),
        Changing("cpu", "client", 1.2),
    ],
    ids=str,
)
def test_the_policy_keeps_the_bounds(case: Case) -> None:
    """In a few cases, with fewer requests than the judgement."""
    assert not failed([case], range(1, 3))


@pytest.mark.full
@pytest.mark.parametrize("pattern", ["poisson", "mmpp"])
@pytest.mark.parametrize("service", SERVICES)
def test_the_policy_is_as_good_as_tuned(service: str, pattern: str) -> None:
    """For each service, at a middle and at a high load."""
    cases = [Open(service, pattern, load, 10_000) for load in (0.5, 0.9)]
    not_met = failed(cases, range(1, 3))
    assert not [verdict for verdict in not_met if verdict.bound.startswith(WITHIN)]


@pytest.mark.full
@pytest.mark.parametrize(
    "case",
    [
        Changing("slow gpu", "neighbour, large batches", 0.7),
        Changing("slow gpu", "noisy start, small batches", 0.7),
        Changing("slow gpu", "client", 0.6),
        Changing("slow gpu", "slow first run", 0.7),
        Changing("slow gpu", "slow first run of each size", 0.8),
        Changing("cpu", "neighbour, small batches", 0.7),
        Changing("cpu", "noisy start, large batches", 0.7),
        Changing("cpu", "noisy start, small batches", 0.7),
        Changing("efficientnet", "slow first run of each size", 0.8),
        Changing("cpu", "slow first run", 0.7),
        Changing("efficientnet", "neighbour, small batches", 0.7),
        Changing("efficientnet", "neighbour, large batches", 0.7),
        Changing("efficientnet", "noisy start, large batches", 0.7),
        Changing("efficientnet", "client", 0.6),
    ],
    ids=str,
)
def test_the_policy_learns_a_machine_that_changes(case: Case) -> None:
    """Each change, on one of the machines or on several."""
    assert not failed([case], range(2, 3))


def ratios(mean: float = 1.0, p99: float = 1.0, greedy: float = 1.0) -> list[dict[str, float]]:
    """Return ratios of two seeds that have these means."""
    return [{"mean": mean + off, "p99": p99 + off, "greedy": greedy + off} for off in (-0.25, 0.25)]


def rates(gain: float, share: float) -> list[dict[str, float]]:
    """Return the ratios of one seed of a closed loop."""
    return [{"gain": gain, "share": share}]


def changing(belief: float = 1.0, **of: float) -> list[dict[str, float]]:
    """Return the ratios of two seeds of a machine that changes; one of them has this *belief*."""
    return [{"belief": 1.0, **of}, {"belief": belief, **of}]


LOW, HIGH = Open("gpu", "poisson", 0.9), Open("gpu", "poisson", 0.95)
LATER, OVER = Changing("cpu", "client", 0.6), Changing("cpu", "client", 1.2)
FEW, MANY = Closed(0.0, 8), Closed(0.0, 64)


@pytest.mark.parametrize(
    ("found", "bounds"),
    [
        ({LOW: ratios(1.0, 1.19, 1.0), HIGH: ratios(1.03, 1.0, 1.0)}, []),
        ({LOW: ratios(mean=1.06)}, ["mean to tuned, to load 0.9", "mean to tuned, on average"]),
        ({LOW: ratios(mean=0.9), HIGH: ratios(mean=1.09)}, ["mean to tuned, beyond"]),
        ({LOW: ratios(p99=1.3)}, ["p99 to tuned"]),
        ({HIGH: ratios(greedy=1.03)}, ["mean to greedy"]),
        ({FEW: rates(1.31, 0.99), MANY: rates(1.0, 0.9)}, []),
        ({FEW: rates(1.29, 0.98)}, ["rate to greedy, 2 to 8 clients"]),
        ({FEW: rates(1.2, 0.99)}, []),  # no setting is faster
        ({FEW: rates(1.31, 0.9)}, ["rate to the best fixed, 2 to 8 clients"]),
        ({MANY: rates(0.98, 1.0)}, ["rate to greedy"]),
        ({LATER: changing(1.01, after=1.04, during=1.2), OVER: changing(goodput=0.96)}, []),
        ({LATER: changing(after=1.06, during=1.2)}, ["mean to the best size, after a change"]),
        ({LATER: changing(after=1.0, during=1.3)}, ["mean to the best size, while disturbed"]),
        ({OVER: changing(goodput=0.94)}, ["answers in time to the best size"]),
        (
            {LATER: changing(1.03, after=1.0), OVER: changing(goodput=1.0)},
            ["l(b) to a monotone and subadditive one"],
        ),
    ],
)
def test_each_bound_is_for_its_cases(found: Found, bounds: list[str]) -> None:
    """And applies to the mean of the seeds."""
    not_met = [verdict.bound for verdict in judged(found) if not verdict.passed]
    assert [bound.split(": ")[0] for bound in not_met] == bounds


@pytest.mark.parametrize(("worst", "code"), [(1.015, 0), (1.025, 1)])
def test_the_exit_code_is_1_if_a_bound_does_not_hold(
    worst: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints every case and bound, and writes each ratio to the file."""
    found = {LOW: ratios(greedy=worst), FEW: rates(1.5, 1.0), LATER: changing(after=1.0)}
    monkeypatch.setattr(command, "played", lambda *_: found)
    file = tmp_path / "found.json"
    result = CliRunner().invoke(command.main, ["--json", str(file)])
    assert result.exit_code == code
    assert ("FAIL" in result.stdout) == bool(code)
    assert "| gpu     | poisson  | 0.9  |" in result.stdout
    assert "| cpu     | client | 0.6  |" in result.stdout
    assert [len(each["seeds"]) for each in json.loads(file.read_text())["cases"]] == [2, 1, 2]


@pytest.mark.parametrize(("only", "kinds"), [((), 3), (("changing",), 1), (("open", "closed"), 2)])
def test_the_kinds_of_cases_are_chosen(only: tuple[str, ...], kinds: int) -> None:
    """All of them without a choice; a quick judgement has fewer cases of each kind."""
    every, quick = list(command.cases(False, only)), list(command.cases(True, only))
    assert len(set(map(type, every))) == len(set(map(type, quick))) == kinds
    assert len(quick) < len(every) == len(set(every))


@pytest.mark.parametrize("change", CHANGES)
def test_equal_seeds_have_equal_machines(change: str) -> None:
    """And other seeds have others; requests arrive as long as latencies are compared."""
    make, service = CHANGES[change], MACHINES["cpu"]
    scene = make(service, Chance(1, 0.05), 0.7)
    assert scene == make(service, Chance(1, 0.05), 0.7)
    assert scene != make(service, Chance(2, 0.05), 0.7)
    assert scene.workload.due[-1] - START > scene.after[1] - 1.0


def test_factors_are_given_for_the_smallest_and_the_largest_batch() -> None:
    """Between them, the time of a run grows with its rows."""
    service = MACHINES["slow gpu"]
    by_rows = factors(service, (2.6, 1.4))
    assert (by_rows[1], by_rows[-1]) == pytest.approx((2.6, 1.4))
    times = [each * seconds for each, seconds in zip(by_rows, service.seconds, strict=True)]
    assert times == sorted(times)


class GivenTimes(LatencyCurve):
    """Run times that are given, by rows from 1."""

    def __init__(self, *seconds: float) -> None:
        super().__init__({})
        self.seconds = seconds

    def predict(self, rows: int) -> float:
        """Return the seconds at *rows*."""
        return self.seconds[rows - 1]


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.0),
        ((1.0, 2.0, 3.0, 4.0), 0.0),
        ((1.0, 2.5, 3.0, 4.0), 0.25),  # two rows take longer than twice one row
        ((1.0, 2.0, 3.0, 6.0), 0.5),  # four rows, than one row and three
        ((1.5, 1.0, 1.5, 1.5), 0.5),  # two rows take less time than one
    ],
)
def test_the_form_of_the_predictions_is_checked(seconds: tuple[float, ...], error: float) -> None:
    """Also at sizes between the measured ones; the largest error is kept."""
    watched = Watched(LotPolicy(), [1, 2, 4], 4)
    for latency in (GivenTimes(*seconds), GivenTimes(1.0, 1.0, 1.0, 1.0)):
        decision = watched.decide(0.0, QueueView(0, 0.0, latency=latency), LaneView(1, 1, 4))
        assert decision is IDLE
    assert watched.error == pytest.approx(error)


def test_the_work_is_shared_by_processes() -> None:
    """The ratios are by case, in the order of the jobs."""
    cases: list[Case] = [Closed(0.0, 2, 12), Open("pad", "poisson", 0.5, 50)]
    found = command.played([(case, seed) for case in cases for seed in (1, 2)], processes=2)
    assert list(found) == cases
    assert [len(each) for each in found.values()] == [2, 2]
    assert found[cases[0]][0] == cases[0].play(1)
