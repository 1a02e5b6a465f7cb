"""The metrics and the status of several workers, while they are replaced and killed."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families as text_families

from tests.integration.clients import get
from tests.integration.servers import Server
from tests.integration.supervised import Load, supervising, worker_pids

pytestmark = pytest.mark.full

READY = "2 of 2 workers are ready"

#: More than the error of a sum of seconds, which depends on the order of the workers.
ROUNDING = 1e-6


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


def counts(totals: Mapping[str, float]) -> dict[str, float]:
    """Return what may not fall: the counters, and the counts of histograms."""
    return {it: value for it, value in totals.items() if it.endswith(("_total", "_count"))}


def scrape_until(
    condition: Callable[[], bool], what: str, server: Server, first: Mapping[str, float]
) -> None:
    """Scrape until *condition*: since the scrape *first* no count falls, and that of rows grows."""
    last = first

    def met() -> bool:
        nonlocal last
        before, last = counts(last), scrape(server)
        fallen = {it: (n, last[it]) for it, n in before.items() if last[it] < n - ROUNDING}
        assert fallen == {}
        return condition()

    server.wait_for(met, what)
    assert last["rows_total"] > first["rows_total"]


def check_exact(server: Server, load: Load) -> None:
    """Check that each answer of *load* is counted once, and that both workers are ready."""
    totals = scrape(server)
    assert totals["rows_total"] == answers(load)
    assert totals["request_phase_seconds_count"] == 5 * answers(load)
    assert (totals["workers"], totals["workers_ready"]) == (2, 2)


def is_rolled(server: Server) -> bool:
    """Return whether the log says that a roll has ended."""
    return "all workers are replaced" in server.log


def test_no_count_is_lost_in_a_roll(tmp_path: Path) -> None:
    """The workers are replaced under load, without a scrape meanwhile."""
    with supervising(tmp_path) as server:
        load = Load(server.port, 8)
        server.signal(signal.SIGUSR2)
        server.wait_for(lambda: is_rolled(server), "the roll")
        load.stop()
        assert load.failures == []
        check_exact(server, load)
        workers = orjson.loads(get(server.port, "/status").body)["workers"]
        assert [(it["index"], it["state"]) for it in workers] == [(0, "ready"), (1, "ready")]
        assert {it["pid"] for it in workers} == {*worker_pids(server.pid)}


def test_no_count_falls_in_a_roll_or_after_a_crash(tmp_path: Path) -> None:
    """The workers are scraped while they are replaced, and while one that is killed restarts."""
    with supervising(tmp_path) as server:
        load = Load(server.port, 8)
        first = scrape(server)
        server.signal(signal.SIGUSR2)
        scrape_until(lambda: is_rolled(server), "the roll", server, first)
        load.stop()
        assert load.failures == []
        check_exact(server, load)
        load = Load(server.port, 8)
        first, ready = scrape(server), server.log.count(READY)
        os.kill(worker_pids(server.pid)[0], signal.SIGKILL)
        server.wait_for(lambda: "was ended by SIGKILL" in server.log, "the end of a worker")
        what = "worker that is ready again"
        scrape_until(lambda: server.log.count(READY) > ready, what, server, first)
        load.stop()
        assert scrape(server)["worker_restarts_total"] == 1
