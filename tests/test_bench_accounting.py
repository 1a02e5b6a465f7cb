"""The benchmark of counting and logging requests: benchmarks/accounting.py."""

from itertools import cycle
from pathlib import Path

import click
import pytest

from benchmarks.accounting import WAYS, Switch, measure, report
from benchmarks.machine import process_cpu_seconds
from benchmarks.wrk import Closed
from server.request_counts import ANSWERED
from server.settings.table import Settings
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness
from tests.images import coloured, encoded

POST = request(body=encoded(coloured(16, 16), "PNG"))


@pytest.mark.usefixtures("surroundings")
def test_the_server_changes_from_one_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The first leaves all out, the second counts, the third counts and logs."""
    harness = ServiceHarness(monkeypatch, Settings(access_log=True)).started()
    inference = harness.service.models.find()
    counts, switch = inference.requests, Switch(harness.service)
    seen = []
    for _ in (*WAYS, WAYS[0]):
        client = harness.connect()
        client.send(POST)
        harness.turn()
        assert client.statuses == [200]
        logged = sum("POST / 200" in line for line in log.lines())
        observed = sum(inference.phases.read()["whole"].counts)
        seen.append((counts.received, counts.ended.get(ANSWERED, 0), observed, logged))
        switch.change()
    assert seen == [(0, 0, 0, 0), (1, 1, 1, 0), (2, 2, 2, 1), (2, 2, 2, 1)]


def test_each_way_is_measured_in_each_round_and_compared_with_the_one_before() -> None:
    """A round in which all are slow changes no ratio."""
    costs = cycle([(0.1, 10), (0.1, 10), (0.2, 10), (0.2, 10), (0.2, 10), (0.6, 10)])
    spent = 0.0
    changes = []

    def load() -> Closed:
        nonlocal spent
        cpu, answered = next(costs)
        spent += cpu
        return Closed(answered, 0, 0, seconds=cpu, mean_ms=1.0, p99_ms=2.0)

    figures = measure(2, lambda: changes.append(1), load, lambda: spent)
    assert len(changes) == 2 * len(WAYS)
    assert list(figures["microseconds"].values()) == [
        [10_000.0, 20_000.0], [10_000.0, 20_000.0], [20_000.0, 60_000.0]
    ]  # fmt: skip
    assert list(figures["rate"].values()) == [[100.0, 50.0], [100.0, 50.0], [50.0, 16.7]]
    *_, counted, logged = (line.split("|")[1:-1] for line in report(figures).splitlines())
    assert [cell.strip() for cell in counted[3:]] == ["1.000"] * 4
    assert [cell.strip() for cell in logged[4:]] == ["2.500", "2.000", "3.000"]


@pytest.mark.parametrize("wrong", [{"refused": 1}, {"broken": 1}])
def test_a_request_that_is_not_answered_ends_the_measurement(wrong: dict[str, int]) -> None:
    """Its cost would be another."""
    figures = {"answered": 10, "refused": 0, "broken": 0, **wrong}
    closed = Closed(**figures, seconds=1.0, mean_ms=1.0, p99_ms=2.0)
    with pytest.raises(click.ClickException, match="not all requests"):
        measure(1, lambda: None, lambda: closed, lambda: 0.0)


def test_the_cpu_of_a_process_is_that_of_all_its_threads() -> None:
    """It only grows."""
    pid = int(Path("/proc/self").readlink().name)
    before = process_cpu_seconds(pid)
    assert 0 < before <= process_cpu_seconds(pid)
