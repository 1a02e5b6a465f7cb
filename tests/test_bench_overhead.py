"""The benchmark of the CPU that the batcher takes: benchmarks/overhead.py."""

import json
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.overhead import (
    BARE,
    BATCH,
    DEFERRED,
    SERVED,
    WARMING,
    WORKS,
    Submits,
    main,
    measure,
    microseconds,
    report,
)


@pytest.mark.parametrize("served", [False, True])
def test_all_requests_of_a_batch_run_together_and_are_answered(served: bool) -> None:
    """They wait while the lane is busy; only the very first one runs alone."""
    work = Submits(served=served)
    for _ in range(10):
        work.batch()
    report = work.recorder.report(work.batcher.stats())
    totals = report.totals
    assert (totals.runs, totals.run_rows) == (11, 1 + 10 * BATCH)
    assert totals.answered == 1 + 9 * BATCH
    assert {run.rows for run in report.runs[:-1]} == {BATCH}
    assert report.queues[0].rows == {"high": 0, "normal": 0, "low": 0}


def test_the_cpu_is_that_of_the_batches_after_the_warming() -> None:
    """Of each request, in microseconds."""
    done: list[float] = []

    class Steady:
        def batch(self) -> None:
            done.append(2.0)

    assert microseconds(Steady(), 5, lambda: sum(done)) == 2.0 / BATCH * 1e6
    assert len(done) == WARMING + 5


def test_the_report_has_medians_and_ratios_within_a_round() -> None:
    """In one round of three the Deferred was slow."""
    costs = {"Deferred": [2.0, 4.0, 2.0], "submit": [4.0, 4.0, 4.1]}
    _, _, base, submit = (line.split() for line in report({"microseconds": costs}).splitlines())
    assert base[1::2] == ["Deferred", "2.000", "1.000", "1.000", "1.000"]
    assert submit[1::2] == ["submit", "4.000", "2.000", "1.000", "2.050"]


@pytest.mark.full
def test_each_work_is_measured_in_each_round_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, where a file is named; a clock of one at each reading gives all the same cost."""
    ticks = count()
    measured = partial(measure, cpu=lambda: float(next(ticks)))
    monkeypatch.setattr("benchmarks.overhead.measure", measured)
    file = tmp_path / "overhead.json"
    arguments = ["--rounds", "2", "--batches", "1", "--json", str(file)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    kept = json.loads(file.read_text())
    assert result.output.rstrip() == report(kept)
    assert list(kept["microseconds"]) == list(WORKS) == [DEFERRED, BARE, SERVED]
    assert set(map(tuple, kept["microseconds"].values())) == {(31250.0,) * 2}
    assert kept["requests"] == BATCH
