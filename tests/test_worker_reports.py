"""What one worker answers for all: server/workers/reports.py and worker_reports.py."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families as text_families
from twisted.internet.defer import Deferred

from server.discovery.worker_record import ModelLoad
from server.metrics import declared
from server.metrics.readings import Readings, to_json
from server.workers.reports import MAX_ANSWER_SECONDS, POLL_SECONDS, STARTING_STATE
from server.workers.worker_reports import WorkerGroup, loads_to, worker_handlers
from tests.fakes.http import Answer, request
from tests.fakes.server import Log
from tests.fakes.service import FakeReactor, ServiceHarness
from tests.fakes.threads import outcomes
from tests.fakes.worker_group import FakeSupervisor
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("log", "surroundings")

IMAGE = encoded(coloured(16, 16), "PNG")
LOAD = {"pets": ModelLoad(0.5, 0.25, ("7",))}


def other_readings(answered: int = 5) -> Readings:
    """Return the readings of a worker that has answered *answered* rows; 4 rows wait."""
    readings = Readings()
    readings.add(declared.ROWS, answered, "pets", "7", "answered", "")
    readings.add(declared.QUEUE_ROWS, 4, "pets", "7")
    readings.add(declared.EXPECTED_WAIT, 1.0, "pets", "7")
    readings.add(declared.LANE_BUSY, 2.5, "1/0")
    readings.add(declared.READY, 1)
    readings.process = {("process_open_fds", ()): 1000.0}
    return readings


class TwoWorkers:
    """A server, which is worker 0, its supervisor, and handlers in the place of worker 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("server.workers.worker_reports.getpid", lambda: 100)
        clock = FakeReactor()
        self.supervisor = FakeSupervisor(clock)
        handlers: dict[str, Any] = {}
        self.channel = self.supervisor.connect(0, 100, handlers)
        group = WorkerGroup(0, self.channel)
        self.harness = ServiceHarness(monkeypatch, group=group, reactor=clock)
        service = self.harness.service
        handlers |= worker_handlers(service.scrapes.json, service.models, lambda: LOAD)
        self.other: dict[str, Any] = {  # Any: handlers of JSON
            "readings": lambda _: orjson.Fragment(to_json(other_readings())),
            "status": lambda _: {"lanes": 2, "expected_wait_ms": 7.5},
            "load": lambda _: loads_to(LOAD),
        }
        self.other_channel = self.supervisor.connect(1, 101, self.other)

    def started(self) -> "TwoWorkers":
        """Start worker 0."""
        self.harness.started()
        return self

    def settle(self) -> None:
        """Let everything happen that is due."""
        self.harness.turn()
        while self.supervisor.exchange():
            self.harness.turn()

    def get(self, path: str) -> Answer:
        """Return the answer of worker 0."""
        client = self.harness.connect()
        client.send(request("GET", path))
        self.settle()
        self.harness.reactor.advance(1.0)  # the patience with workers that do not answer
        self.settle()
        client.hang_up()
        return client.answer

    def classify(self) -> None:
        """Let worker 0 answer an image."""
        client = self.harness.connect()
        client.send(request(body=IMAGE))
        self.harness.turn()
        client.hang_up()
        assert client.statuses == [200]

    def scrape(self) -> dict[str, float]:
        """Return the values of all series, by name and the values of the sorted labels."""
        return {
            " ".join(
                filter(None, [sample.name.removeprefix("tensorferry_"), *sample.labels.values()])
            ): sample.value
            for family in text_families(self.get("/metrics").body.decode())
            for sample in family.samples
        }


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> TwoWorkers:
    """Return two workers; worker 0 is ready and has answered a request."""
    workers = TwoWorkers(monkeypatch).started()
    workers.classify()
    return workers


ANSWERED = "rows_total pets answered 7"


def test_a_scrape_of_one_worker_has_the_sums_of_all(workers: TwoWorkers) -> None:
    """Each lane has the number of its worker; the mean is the expected wait."""
    workers.supervisor.restarts = 3
    values = workers.scrape()
    assert values[ANSWERED] == 6
    assert values["queue_rows pets 7"] == 4
    assert values["expected_wait_seconds pets 7"] == pytest.approx((1.0 + 0.1 / 64) / 2)
    assert values["lane_busy_seconds_total 0/0"] >= 1 / 64
    assert values["lane_busy_seconds_total 1/0"] == 2.5
    assert values["ready"] == 1
    assert values["process_open_fds"] > 1000
    assert values["memory_available_bytes"] > 0
    assert (values["workers"], values["workers_ready"], values["workers_silent"]) == (2, 2, 0)
    assert values["worker_restarts_total"] == 3


def test_a_silent_worker_keeps_its_counts(workers: TwoWorkers) -> None:
    """A scrape waits a second for it, and leaves its gauges out."""
    assert workers.scrape()[ANSWERED] == 6
    workers.other["readings"] = lambda _: Deferred()
    values = workers.scrape()
    assert (values[ANSWERED], values["queue_rows pets 7"]) == (6, 0)
    assert (values["workers_ready"], values["workers_silent"]) == (1, 1)


def test_a_worker_that_starts_is_not_silent(workers: TwoWorkers) -> None:
    """It may be busy with the import of TensorFlow for some seconds."""
    workers.other["readings"] = lambda _: Deferred()
    workers.supervisor.workers[1] = replace(workers.supervisor.workers[1], state=STARTING_STATE)
    assert workers.scrape()["workers_silent"] == 0


def test_a_worker_that_crashed_keeps_the_counts_of_the_last_poll(workers: TwoWorkers) -> None:
    """Also if nothing was scraped; another process may have its place."""
    workers.supervisor.reports.start()
    workers.harness.reactor.advance(POLL_SECONDS)
    workers.settle()
    workers.supervisor.workers.pop().channel.connectionLost()
    workers.supervisor.connect(1, 102, workers.other)
    values = workers.scrape()
    assert values[ANSWERED] == 1 + 5 + 5
    assert values["lane_busy_seconds_total 1/0"] == 2.5 + 2.5
    workers.supervisor.reports.stop()


def test_a_worker_that_stops_loses_no_count(workers: TwoWorkers) -> None:
    """It sends them after its last answer, while its models are in memory."""
    workers.classify()
    stopped = workers.harness.service.stopService()
    for _ in range(3):
        workers.settle()
        workers.harness.reactor.advance(1.0)
    assert stopped.called
    del workers.supervisor.workers[0]
    collected = outcomes(workers.supervisor.reports.collect())
    workers.supervisor.exchange()
    (total,) = collected
    assert isinstance(total, Readings)
    assert total.numbers[declared.ROWS]["pets", "7", "answered", ""] == 2 + 5
    assert total.numbers[declared.LANE_BUSY].keys() == {("0/0",), ("1/0",)}


def test_the_last_counts_of_a_process_that_has_ended_are_not_added_twice(
    workers: TwoWorkers,
) -> None:
    """They arrive too late: it has been counted as ended."""
    assert workers.scrape()[ANSWERED] == 6
    ended = workers.supervisor.workers.pop()
    assert workers.scrape()[ANSWERED] == 6
    content = orjson.Fragment(to_json(other_readings()))
    workers.other_channel.call("last_readings", {"pid": ended.pid, "readings": content})
    assert workers.scrape()[ANSWERED] == 6


@pytest.fixture
def slow(workers: TwoWorkers) -> "list[Deferred[orjson.Fragment]]":
    """Connect a worker 2, and return the answers that it owes, to calls for its readings."""
    owed: list[Deferred[orjson.Fragment]] = []

    def readings(_: object) -> "Deferred[orjson.Fragment]":
        owed.append(Deferred())
        return owed[-1]

    workers.supervisor.connect(2, 102, {"readings": readings})
    return owed


def test_last_counts_that_arrive_after_an_answer_replace_it(
    workers: TwoWorkers, slow: "list[Deferred[orjson.Fragment]]"
) -> None:
    """Although the sum waits for a third worker."""
    collected = outcomes(workers.supervisor.reports.collect())
    workers.settle()
    content = orjson.Fragment(to_json(other_readings(7)))
    workers.other["readings"] = lambda _: content
    workers.other_channel.call("last_readings", {"pid": 101, "readings": content})
    workers.settle()
    assert collected == []
    slow[0].callback(orjson.Fragment(to_json(Readings())))
    workers.settle()
    assert rows_and_silent(collected) == (1 + 7, 0)
    assert workers.scrape()[ANSWERED] == 1 + 7


def test_the_answer_of_a_worker_that_ends_before_the_slowest_answers_is_counted(
    workers: TwoWorkers, slow: "list[Deferred[orjson.Fragment]]"
) -> None:
    """Its gauges are left out, and it is not ready any more."""
    collected = outcomes(workers.supervisor.reports.collect())
    workers.settle()
    workers.supervisor.workers.pop(1)
    workers.harness.reactor.advance(MAX_ANSWER_SECONDS)
    assert rows_and_silent(collected) == (1 + 5, 1)
    (total,) = collected
    assert isinstance(total, Readings)
    assert total.numbers[declared.QUEUE_ROWS]["pets", "7"] == 0
    assert total.numbers[declared.WORKERS_READY][()] == 1
    assert len(slow) == 1
    assert workers.scrape()[ANSWERED] == 1 + 5


def test_an_answer_of_a_process_that_has_ended_is_not_counted(workers: TwoWorkers) -> None:
    """Its counts are in the sum already."""
    assert workers.scrape()[ANSWERED] == 1 + 5
    answer: Deferred[orjson.Fragment] = Deferred()
    workers.other["readings"] = lambda _: answer
    collected = outcomes(workers.supervisor.reports.collect())
    workers.settle()
    workers.supervisor.workers.pop()
    later = outcomes(workers.supervisor.reports.collect())
    workers.settle()
    assert rows_and_silent(later) == (1 + 5, 0)
    answer.callback(orjson.Fragment(to_json(other_readings())))
    workers.settle()
    assert rows_and_silent(collected) == (1 + 5, 0)
    assert workers.scrape()[ANSWERED] == 1 + 5


def rows_and_silent(collected: Sequence[object]) -> tuple[float, float]:
    """Return the answered rows in the one sum that was *collected*, and the silent workers."""
    (total,) = collected
    assert isinstance(total, Readings)
    rows = total.numbers[declared.ROWS]["pets", "7", "answered", ""]
    return rows, total.numbers[declared.WORKERS_SILENT][()]


def test_the_status_has_all_workers(workers: TwoWorkers) -> None:
    """In their order; what is not known of a silent one is null."""
    workers.other["status"] = lambda _: Deferred()
    workers.supervisor.connect(1, 99, {"status": lambda _: {"lanes": 2, "expected_wait_ms": None}})
    workers.supervisor.workers[1] = replace(workers.supervisor.workers[1], state="leaving")
    content = workers.get("/status").json()
    assert (content["model"], content["lanes"]) == ("pets/7", 3)
    wait = content["workers"][0]["expected_wait_ms"]
    assert 0 < wait < 100
    assert content["workers"] == [
        {"index": 0, "pid": 100, "state": "ready", "lanes": 1, "expected_wait_ms": wait},
        {"index": 1, "pid": 99, "state": "ready", "lanes": 2, "expected_wait_ms": None},
        {"index": 1, "pid": 101, "state": "leaving", "lanes": None, "expected_wait_ms": None},
    ]


def test_the_report_of_the_batcher_is_that_of_one_worker(workers: TwoWorkers) -> None:
    """It names the worker."""
    report = workers.get("/debug/batcher").json()
    assert (report["worker"], report["lanes"]) == (0, 1)


@pytest.mark.parametrize("path", ["/metrics", "/status"])
@pytest.mark.parametrize("lost", [False, True], ids=["silent", "lost"])
def test_without_its_supervisor_a_worker_does_not_answer_for_all(
    workers: TwoWorkers, path: str, lost: bool
) -> None:
    """The values of one worker would look as if counters had begun anew."""
    if lost:
        workers.channel.connectionLost()
    client = workers.harness.connect()
    client.send(request("GET", path))
    workers.harness.turn()
    workers.harness.reactor.advance(5.0)
    workers.harness.turn()
    assert client.answer.status == 503
    assert client.answer.json()["error"].startswith("the supervisor of the workers: ")


def test_a_worker_that_starts_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its model is loaded, it has no status and no load."""
    workers = TwoWorkers(monkeypatch)
    workers.harness.start()
    workers.harness.threads.hung.add("loading")
    values = workers.scrape()
    assert (values[ANSWERED], values["workers_ready"]) == (5, 1)
    calls: Any = workers.supervisor.workers[0].channel.call("status")
    status = outcomes(calls)
    workers.settle()
    assert status == [{"lanes": None, "expected_wait_ms": None}]


def test_the_load_is_that_of_the_workers_that_are_ready(workers: TwoWorkers) -> None:
    """As one worker that has room for the requests of both."""
    first = workers.supervisor.workers[0]
    workers.supervisor.workers.append(replace(first, pid=99, state="leaving"))
    loads = outcomes(Deferred.fromCoroutine(workers.supervisor.reports.loads()))
    workers.settle()
    assert loads == [{"pets": ModelLoad(0.5, 0.125, ("7",))}]


def test_the_load_is_not_that_of_a_worker_that_hangs(workers: TwoWorkers) -> None:
    """Its infinite waits, which JSON does not have, are left out of the mean."""
    workers.other["load"] = lambda _: loads_to({"pets": ModelLoad(inf, inf, ("7",))})
    loads = outcomes(Deferred.fromCoroutine(workers.supervisor.reports.loads()))
    workers.settle()
    assert loads == [{"pets": ModelLoad(0.5, 0.125, ("7",))}]


def test_an_answer_that_cannot_be_read_counts_as_none(workers: TwoWorkers, log: Log) -> None:
    """A worker of another version may send it; the log says so once."""
    workers.other["readings"] = lambda _: {"numbers": 1}
    assert [workers.scrape()["workers_silent"] for _ in range(2)] == [1, 1]
    (text,) = log.flush(AttributeError)
    assert text.startswith("worker 1: its readings cannot be read\n")
