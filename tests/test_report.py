"""The reports of queues and recent runs: model/execution/recorder.py."""

from dataclasses import replace

import pytest

from batcher.learning.arrivals import UNEXPECTED
from batcher.learning.latency import LatencyCurve
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.request import Request
from batcher.stats import BatcherStats, State
from batcher.trace import Run
from model.execution.recorder import (
    MAX_RECENT_RUNS,
    MAX_REPORTED_QUEUES,
    BatcherReport,
    QueueReport,
    Recorder,
    queue_report,
)

StrQueue = Queue[str, str]


def a_queue(name: str = "net") -> StrQueue:
    """Return an empty queue with a known l(b)."""
    return Queue(LatencyCurve({1: 2.0, 4: 4.0}), 4, 64, name)


def a_run(started: float = 0.0) -> Run:
    """Return a run of three rows, launched at *started* while two rows stayed in the queue."""
    return Run(3, 4, "lot", started=started, expected=3.5, waiting_rows=2)


def report_of(recorder: Recorder, now: float = 0.0) -> BatcherReport:
    """Return the report of *recorder* at *now*."""
    return recorder.report(BatcherStats(State.RUNNING, 0, 0, 1, 0, 0, "lot", now))


def test_a_reported_run_does_not_change() -> None:
    """The report holds a copy: a run that ends later has its seconds in the next report only."""
    recorder, run = Recorder(), a_run(4.0)
    recorder.launched(a_queue(), run)
    before = report_of(recorder).runs
    run.seconds = 3.0
    assert before == (a_run(4.0),)
    assert report_of(recorder).runs == (replace(a_run(4.0), seconds=3.0),)


def test_a_report_has_the_last_runs() -> None:
    """`MAX_RECENT_RUNS` of them, the last launch first."""
    recorder, queue = Recorder(), a_queue()
    for started in range(MAX_RECENT_RUNS + 10):
        recorder.launched(queue, a_run(float(started)))
    started_at = [run.started for run in report_of(recorder).runs]
    last = MAX_RECENT_RUNS + 9
    assert started_at == [float(last - number) for number in range(MAX_RECENT_RUNS)]


def test_a_report_has_the_queues_with_the_last_launches() -> None:
    """`MAX_REPORTED_QUEUES` of them, each once, the last launch first."""
    recorder = Recorder()
    queues = [a_queue(str(number)) for number in range(MAX_REPORTED_QUEUES + 2)]
    for each in (*queues, queues[-3]):
        recorder.launched(each, a_run())
    names = [report.name for report in report_of(recorder).queues]
    latest = [queues[-3], queues[-1], queues[-2], *reversed(queues[2:-3])]
    assert names == [each.name for each in latest]
    assert len(names) == MAX_REPORTED_QUEUES


def test_a_queue_is_reported_by_priority_with_its_latencies() -> None:
    """Without the rows of other queues."""
    net, other = a_queue(), a_queue("other")
    for queue, request in (
        (net, Request(1, "a", 3, net, 4.0, priority=Priority.LOW)),
        (net, Request(2, "b", 2, net, 6.0, priority=Priority.HIGH)),
        (other, Request(3, "c", 5, other, 1.0)),
        (net, Request(4, "d", 1, net, 7.0, priority=Priority.HIGH)),
    ):
        queue.push(request)
    recorder = Recorder()
    recorder.launched(net, a_run())
    (report,) = report_of(recorder, 8.0).queues
    assert report == QueueReport(
        name="net",
        model="",
        rows={"high": 3, "normal": 0, "low": 3},
        waited=4.0,
        arrivals=UNEXPECTED.rate,
        latency=net.latency.fitted,
        knee=4,
        best=net.latency.sizes(4).rates[-1],
        cap=4,
        margin=net.latency.margin,
    )


def test_an_empty_queue_is_reported_too() -> None:
    """With zeros if it never had a run."""
    queue: StrQueue = Queue(LatencyCurve({}), 4, 64, "new")
    report = queue_report(queue, 8.0)
    assert report.rows == {"high": 0, "normal": 0, "low": 0}
    assert (report.waited, report.arrivals, report.latency, report.best) == (0.0, 0.0, {}, 0.0)


def test_no_reported_wait_is_negative() -> None:
    """A request arrives at 9.0, the clock is set back, and the report is made at 8.0."""
    queue = a_queue()
    queue.push(Request(1, "a", 1, queue, 9.0))
    assert queue_report(queue, 8.0).waited == 0.0


def test_a_report_has_the_expected_arrivals() -> None:
    """In rows per second."""
    queue = a_queue()
    for second in range(1000):
        queue.arrivals.observe(2, float(second))
        queue.update_arrivals(float(second))
    assert queue_report(queue, 1000.0).arrivals == pytest.approx(2.0, rel=0.01)
