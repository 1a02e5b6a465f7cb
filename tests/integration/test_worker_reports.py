"""The metrics and the status of several workers, while they are replaced and killed."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families as text_families

from tests.integration.clients import get
from tests.integration.servers import Server
from tests.integration.supervised import Load, supervising, worker_pids

pytestmark = pytest.mark.full


def scrape(server: Server) -> Mapping[str, float]:
    """Return the sum of the series of each sample, by its name without the prefix."""
    sums: dict[str, float] = {}
    for family in text_families(get(server.port, "/metrics").body.decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("tensorferry_")
            sums[name] = sums.get(name, 0.0) + sample.value
    return sums


def answers(load: Load) -> int:
    """Return how many requests of *load* were answered."""
    return sum(client.answered for client in load._clients)


def test_no_count_is_lost_in_a_roll_and_none_falls_after_a_crash(tmp_path: Path) -> None:
    """The workers are replaced under load, without a scrape meanwhile; then one is killed."""
    with supervising(tmp_path) as server:
        load = Load(server.port, 8)
        server.signal(signal.SIGUSR2)
        server.wait_for(lambda: "all workers are replaced" in server.log, "the roll")
        load.stop()
        assert load.failures == []
        totals = scrape(server)
        assert totals["rows_total"] == answers(load)
        assert totals["request_phase_seconds_count"] == 5 * answers(load)
        assert (totals["workers"], totals["workers_ready"]) == (2, 2)
        workers = orjson.loads(get(server.port, "/status").body)["workers"]
        assert [(it["index"], it["state"]) for it in workers] == [(0, "ready"), (1, "ready")]
        assert {it["pid"] for it in workers} == {*worker_pids(server.pid)}
        load = Load(server.port, 8)
        answered = [totals["rows_total"], scrape(server)["rows_total"]]
        os.kill(workers[0]["pid"], signal.SIGKILL)
        server.wait_for(lambda: "was ended by SIGKILL" in server.log, "the end of a worker")
        while server.log.count("2 of 2 workers are ready") < 4:
            answered.append(scrape(server)["rows_total"])
        load.stop()
        totals = scrape(server)
        assert sorted(answered) == answered
        assert answered[0] < answered[-1] <= totals["rows_total"]
        assert totals["worker_restarts_total"] == 1
