"""The policy compared with tuned settings, reduced: scripts/simulation/judgement.py."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import judgement as command
from scripts.simulation.judgement import SERVICES, Case, Closed, Found, Open, Verdict, judged

#: The bounds against tuned settings that hold for each case, not only on average.
WITHIN = ("mean to tuned, to load", "mean to tuned, beyond", "p99 to tuned")


def failed(cases: Sequence[Case], seeds: range, requests: int) -> list[Verdict]:
    """Simulate *cases*, and return the verdicts on the bounds that do not hold."""
    found = {case: [case.play(seed, requests) for seed in seeds] for case in cases}
    return [verdict for verdict in judged(found) if not verdict.passed]


@pytest.mark.parametrize(
    "case",
    [
        Open("gpu", "poisson", 0.5),
        Open("pad", "mmpp", 0.7),
        Open("cpu", "poisson", 0.7),
        Closed(0.0, 8),
        Closed(0.0003, 16),
    ],
    ids=str,
)
def test_the_policy_keeps_the_bounds(case: Case) -> None:
    """In a few cases, with fewer requests than the judgement."""
    assert not failed([case], range(1, 2), 4000)


@pytest.mark.full
@pytest.mark.parametrize("pattern", ["poisson", "mmpp"])
@pytest.mark.parametrize("service", SERVICES)
def test_the_policy_is_as_good_as_tuned(service: str, pattern: str) -> None:
    """For each service, at a middle and at a high load."""
    cases = [Open(service, pattern, load) for load in (0.5, 0.9)]
    not_met = failed(cases, range(1, 4), 10_000)
    assert not [verdict for verdict in not_met if verdict.bound.startswith(WITHIN)]


def ratios(mean: float = 1.0, p99: float = 1.0, greedy: float = 1.0) -> list[dict[str, float]]:
    """Return ratios of two seeds that have these means."""
    return [{"mean": mean + off, "p99": p99 + off, "greedy": greedy + off} for off in (-0.25, 0.25)]


def rates(gain: float, share: float) -> list[dict[str, float]]:
    """Return the ratios of one seed of a closed loop."""
    return [{"gain": gain, "share": share}]


LOW, HIGH = Open("gpu", "poisson", 0.9), Open("gpu", "poisson", 0.95)
FEW, MANY = Closed(0.0, 8), Closed(0.0, 64)


@pytest.mark.parametrize(
    ("found", "bounds"),
    [
        ({LOW: ratios(1.0, 1.19, 1.0), HIGH: ratios(1.03, 1.0, 1.0)}, []),
        ({LOW: ratios(mean=1.06)}, ["mean to tuned, to load 0.9", "mean to tuned, on average"]),
        ({LOW: ratios(mean=0.9), HIGH: ratios(mean=1.09)}, ["mean to tuned, beyond"]),
        ({LOW: ratios(p99=1.3)}, ["p99 to tuned"]),
        ({HIGH: ratios(greedy=1.02)}, ["mean to greedy"]),
        ({FEW: rates(1.31, 0.99), MANY: rates(1.0, 0.9)}, []),
        ({FEW: rates(1.29, 0.98)}, ["rate to greedy, 2 to 8 clients"]),
        ({FEW: rates(1.2, 0.99)}, []),  # no setting is faster
        ({FEW: rates(1.31, 0.9)}, ["rate to the best fixed, 2 to 8 clients"]),
        ({MANY: rates(0.98, 1.0)}, ["rate to greedy"]),
    ],
)
def test_each_bound_is_for_its_cases(found: Found, bounds: list[str]) -> None:
    """And applies to the mean of the seeds."""
    not_met = [verdict.bound for verdict in judged(found) if not verdict.passed]
    assert [bound.split(": ")[0] for bound in not_met] == bounds


@pytest.mark.parametrize(("worst", "code"), [(1.005, 0), (1.015, 1)])
def test_the_exit_code_is_1_if_a_bound_does_not_hold(
    worst: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints every case and bound, and writes each ratio to the file."""
    found = {LOW: ratios(greedy=worst), FEW: rates(1.5, 1.0)}
    monkeypatch.setattr(command, "played", lambda *_: found)
    file = tmp_path / "found.json"
    result = CliRunner().invoke(command.main, ["--json", str(file)])
    assert result.exit_code == code
    assert ("FAIL" in result.stdout) == bool(code)
    assert "| gpu     | poisson  | 0.9  |" in result.stdout
    assert [len(each["seeds"]) for each in json.loads(file.read_text())["cases"]] == [2, 1]


def test_the_work_is_shared_by_processes() -> None:
    """The ratios are by case, in the order of the jobs."""
    cases: list[Case] = [Closed(0.0, 2), Open("pad", "poisson", 0.5)]
    found = command.played([(case, seed, 50) for case in cases for seed in (1, 2)], processes=2)
    assert list(found) == cases
    assert [len(each) for each in found.values()] == [2, 2]
    assert found[cases[0]][0] == cases[0].play(1, 50)
