"""The counts and times of requests and runs: server/statistics.py, model/execution/recorder.py."""

import gc
from itertools import pairwise

import pytest

from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.share import Share
from batcher.trace import Run, Trace
from model.execution.recorder import Executions, Recorder, Totals
from server.call import Timing
from server.statistics import Statistics, Total


def timing(queued: float, *runs: tuple[float, float]) -> Timing:
    """Return the timing of a request of two rows; each run has its start and its seconds."""
    trace = Trace(queued, [Run(2, 4, "full", seconds, start) for start, seconds in runs])
    return Timing(0.5, 0.25, 2, trace)


@pytest.mark.parametrize(
    ("runs", "seconds"),
    [
        ([(8.0, 2.0)], 2.0),
        ([(8.0, 2.0), (8.5, 1.0)], 2.0),
        ([(8.0, 2.0), (9.0, 4.0)], 5.0),
        ([], 0.0),
    ],
)
def test_runs_at_the_same_time_count_once(runs: list[tuple[float, float]], seconds: float) -> None:
    """The stages of a request never add up to more than its time."""
    counted = Statistics()
    counted.answered(timing(1.0, *runs), 9.0, 20.0)
    assert counted.run == Total(1, seconds)


def test_answers_and_failures_are_counted_apart() -> None:
    """The stages are those of answered requests."""
    counted = Statistics()
    assert counted == Statistics(last=None)
    counted.answered(timing(1.0, (8.0, 2.0)), 4.0, 20.0)
    counted.answered(timing(3.0, (8.0, 2.0)), 6.0, 21.0)
    counted.failed(0.5)
    counted.failed()
    assert (counted.success, counted.fail) == (Total(2, 10.0), Total(2, 0.5))
    assert (counted.queue, counted.run) == (Total(2, 4.0), Total(2, 4.0))
    assert (counted.prepare, counted.finish) == (Total(2, 1.0), Total(2, 0.5))
    assert (counted.rows, counted.last) == (4, 21.0)


def test_a_recorder_counts_the_runs_of_each_share_by_their_rows() -> None:
    """Failed runs and those of the warm-up are left out; a share that is gone is forgotten."""
    recorder = Recorder()
    shares = [Share("a/1"), Share("a/1"), Share("a/1", background=True)]
    queues = [Queue[int, int](LatencyCurve({}), 4, 8, "q", share=share) for share in shares]
    for queue in queues:
        for rows, error in ((1, None), (4, None), (4, None), (4, ValueError())):
            run = Run(rows, 4, "full", 2.0, dispatch_overhead=0.5)
            recorder.ended(queue, run, error)
    recorder.ended(queues[1], Run(1, 4, "full", 1.0), None)
    recorder.ended(Queue[int, int](LatencyCurve({}), 4, 8, "q"), Run(1, 4, "full", 1.0), None)
    four = Executions(2, 3.0, 1.0)
    assert [recorder.executions(share) for share in shares] == [
        {1: Executions(1, 1.5, 0.5), 4: four},
        {1: Executions(2, 2.5, 0.5), 4: four},
        {},
    ]
    assert all(recorder.executions(a) is not recorder.executions(b) for a, b in pairwise(shares))
    del shares, queues, queue
    gc.collect()
    assert not recorder._executions


def test_totals_are_those_of_a_share_and_their_sum_keeps_the_shares_that_are_gone() -> None:
    """Background shares are left out, and a queue without a share counts in the sum alone."""
    recorder = Recorder()
    shares = [Share("a/1"), Share("b/1"), Share("warm-up", background=True), None]
    queues = [Queue[int, int](LatencyCurve({}), 4, 8, "q", share=share) for share in shares]
    for queue in [*queues, queues[0]]:
        run = Run(2, 4, "full", None)
        recorder.launched(queue, run)
        run.seconds, run.dispatch_overhead = 2.0, 0.5
        recorder.ended(queue, run, ValueError())
        recorder.answered(queue, 3)
        recorder.failed(queue, 1, ValueError())
        recorder.refused(queue, 2, "late")
        recorder.expired(queue, 4, "queue")
        recorder.cancelled(queue, 5, "run")
    one = Totals(
        1, 2, 3, 1, 4, 5, 2, {"queue": 4}, {"run": 5}, {"late": 2}, {"full": 1}, {2: 1}, 2.0, 0.5
    )
    two, four = Totals(), Totals()
    for _ in range(2):
        two.add(one)
        four.add(one)
        four.add(one)
    assert two.runs_by_rows == {2: 2}
    assert [recorder.of(share) for share in shares if share] == [two, one, Totals()]
    assert recorder.totals == four
    unused = Queue[int, int](LatencyCurve({}), 4, 8, "q", share=Share("c/1"))
    recorder._queues.clear()
    del shares, queues, queue
    recorder.answered(unused, 0)
    gc.collect()
    recorder.answered(Queue[int, int](LatencyCurve({}), 4, 8, "q", share=Share("d/1")), 0)
    assert recorder.totals == four
    assert len(recorder._by_share) == 2
