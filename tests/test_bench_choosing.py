"""The choice of a worker: benchmarks/choosing.py."""

from random import Random

import pytest
from click.testing import CliRunner

from benchmarks import choosing_live
from benchmarks.choosing import SERVICES, Fleet, Worker, main, verdicts
from server.discovery.worker_record import ModelLoad


def test_a_worker_runs_one_request_at_a_time() -> None:
    """It reports the wait for the requests before and for one more."""
    worker = Worker(0.5)
    assert [worker.take(1.0, 1.0), worker.take(1.25, 2.0), worker.take(9.0, 1.0)] == [1.5, 2.5, 9.5]
    assert worker.load(9.25) == ModelLoad(0.75, 0.5)
    assert worker.load(99.0) == ModelLoad(0.5, 0.5)


def test_each_worker_reports_every_second() -> None:
    """At a time of its own; what was reported before stays until then."""
    fleet = Fleet(Random(1))  # noqa: S311 - no secret
    fleet.workers[2].take(0.0, 1000.0)
    fleet.advance(0.001)
    assert [fleet.members.written[it] for it in "012"] == [0.0] * 3
    fleet.advance(1.001)
    assert fleet.now == 1.001
    written = [fleet.members.written[it] for it in "012"]
    assert all(0.0 < it <= 1.001 for it in written)
    assert len(set(written)) == 3
    reported = fleet.members.workers["2"].models
    assert reported is not None
    assert reported["model"].expected_wait == pytest.approx(30 + SERVICES[2] - written[2])


@pytest.mark.parametrize(
    ("ours", "passed"), [((10.0, 400.0), "pass"), ((60.0, 90.0), "FAIL")], ids=["pass", "FAIL"]
)
def test_the_bounds_are_ratios_to_round_robin(ours: tuple[float, float], passed: str) -> None:
    """Of the p99 in an open loop, of the rate in a closed one."""
    rows = [
        {"loop": loop, "way": way, "p99_ms": [p99], "rate": [rate]}
        for loop in ("load 0.3", "4 clients")
        for way, p99, rate in (("better of two", *ours), ("round robin", 100.0, 100.0))
    ]
    assert [it[""] for it in verdicts(rows)] == [passed] * 2


def test_the_better_of_two_holds_its_bounds() -> None:
    """In loops that are long enough to show it."""
    ran = CliRunner().invoke(main, ["--requests", "2000", "--seeds", "1"])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("pass") == 8


@pytest.mark.parametrize(
    ("p99", "rate", "expected"),
    [(50.0, 100.0, ["pass", "pass"]), (51.0, 99.0, ["FAIL", "FAIL"])],
    ids=["pass", "FAIL"],
)
def test_the_bounds_of_real_processes_are_the_same(
    p99: float, rate: float, expected: list[str]
) -> None:
    """Of the p99 and of the rate of one closed loop."""
    rows = [
        {"way": "random", "p99_ms": [1.0], "rate": [1.0]},
        {"way": "round robin", "p99_ms": [100.0], "rate": [100.0]},
        {"way": "better of two", "p99_ms": [p99], "rate": [rate]},
    ]
    assert [it[""] for it in choosing_live.verdicts(rows)] == expected
