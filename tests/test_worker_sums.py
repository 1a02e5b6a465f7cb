"""The values of several workers together: server/workers/sums.py and kept_counts.py."""

from collections.abc import Sequence
from math import inf

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.discovery.worker_record import MAX_WAIT_SECONDS, ModelLoad
from server.metrics import declared
from server.metrics.counts import HistogramCounts
from server.metrics.declared import METRICS, Metric
from server.metrics.readings import Readings, from_content, to_json
from server.workers.kept_counts import KeptCounts
from server.workers.sums import add_up, combined_load, group_status

VERSION = ("pets", "7")


def reading(metric: Metric, value: float, *labels: str) -> Readings:
    """Return the readings of one series."""
    readings = Readings()
    readings.add(metric, value, *labels)
    return readings


def counted(rows: int, version: str = "7", *, ready: bool = True) -> Readings:
    """Return the readings of a worker that has run *rows* rows of a version, one in a batch."""
    readings = reading(declared.ROWS_RUN, rows, "pets", version)
    readings.add(declared.QUEUE_ROWS, 5, "pets", version)
    readings.add(declared.REQUESTS, rows, "pets")
    readings.add(declared.READY, ready)
    counts = HistogramCounts((1.0,), (rows, 0), float(rows))
    readings.add_counts(declared.BATCH_ROWS, counts, "pets", version)
    return readings


def rows_in(readings: Readings, version: str = "7") -> float:
    """Return the rows that have run, which the histogram has as well."""
    rows = readings.numbers.get(declared.ROWS_RUN, {}).get(("pets", version), 0)
    counts = readings.counts.get(declared.BATCH_ROWS, {}).get(("pets", version))
    assert (0 if counts is None else sum(counts.counts)) == rows
    return rows


@pytest.mark.parametrize(
    ("metric", "values", "together"),
    [
        (declared.REQUESTS, (3, 4), 7),
        (declared.QUEUE_ROWS, (3, 4), 7),
        (declared.QUEUE_OLDEST, (0.5, 2.0), 2.0),
        (declared.EXPECTED_WAIT, (0.5, 1.5), 1.0),
        (declared.EXPECTED_WAIT, (0.5, inf), 0.5),
        (declared.EXPECTED_WAIT, (inf, inf), inf),
        (declared.READY, (1, 0), 1),
        (declared.LANES, (1, 1), 2),
        (declared.MODEL_VERSIONS, (2, 1), 2),
        (declared.BUILD_INFO, (1, 1), 1),
        (declared.DECODE_LONGEST, (0.0, 3.0), 3.0),
    ],
    ids=lambda it: it.name if isinstance(it, Metric) else None,
)
def test_each_metric_combines_as_it_declares(
    metric: Metric, values: Sequence[float], together: float
) -> None:
    """Counts and sizes are added; of ages the highest counts, of waits the mean."""
    labels = metric.labels
    total = add_up([reading(metric, value, *labels) for value in values])
    assert total.numbers == {metric: {labels: together}}


def test_counters_and_histograms_are_added() -> None:
    """Only these are still counted for a worker that has ended."""
    assert {it.combine for it in METRICS if it.kind is not declared.Kind.GAUGE} == {
        declared.Combine.SUM
    }


def test_series_that_one_worker_has_are_in_the_sum() -> None:
    """And histograms are added bucket by bucket; other bounds are left out."""
    first, second, third = counted(1), counted(2, "8"), Readings()
    first.add_counts(declared.EVENT_LOOP_LAG, HistogramCounts((1.0, 2.0), (1, 2, 3), 9.0))
    second.add_counts(declared.EVENT_LOOP_LAG, HistogramCounts((1.0, 2.0), (4, 0, 1), 8.0))
    third.add_counts(declared.EVENT_LOOP_LAG, HistogramCounts((3.0,), (1, 0), 1.0))
    total = add_up([first, second, third])
    assert total.counts[declared.EVENT_LOOP_LAG] == {
        (): HistogramCounts((1.0, 2.0), (5, 2, 4), 17.0)
    }
    assert (rows_in(total), rows_in(total, "8")) == (1, 2)


def test_the_process_started_with_its_first_worker() -> None:
    """The other series of the process are added."""
    workers = [Readings(), Readings()]
    for worker, start in zip(workers, (70.0, 60.0), strict=True):
        worker.process = {
            ("process_start_time_seconds", ()): start,
            ("process_open_fds", ()): 8.0,
            ("python_gc_collections_total", (("generation", "0"),)): 2.0,
        }
    assert add_up(workers).process == {
        ("process_start_time_seconds", ()): 60.0,
        ("process_open_fds", ()): 16.0,
        ("python_gc_collections_total", (("generation", "0"),)): 4.0,
    }


def test_readings_pass_through_json() -> None:
    """With infinity; a metric of another version of the server is left out."""
    readings = counted(3)
    readings.add(declared.EXPECTED_WAIT, inf, *VERSION)
    readings.process = {("python_gc_collections_total", (("generation", "0"),)): 2.0}
    content = orjson.loads(to_json(readings))
    content["numbers"]["tensorferry_later"] = [[[], 1]]
    content["counts"]["tensorferry_later_seconds"] = [[[], [1], [1, 1], 1]]
    again = from_content(content)
    assert again.numbers == readings.numbers
    assert again.counts == readings.counts
    assert again.process == readings.process


# --- workers that end


def test_a_worker_that_does_not_answer_has_counts_but_no_gauges() -> None:
    """Those of its last report."""
    counts = KeptCounts()
    counts.report(1, counted(3))
    counts.report(2, counted(4))
    total = counts.total({2})
    assert rows_in(total) == 7
    assert total.numbers[declared.QUEUE_ROWS] == {VERSION: 5}


def test_the_series_of_a_version_end_when_no_worker_has_it() -> None:
    """Not before, and not while no worker is ready."""
    counts = KeptCounts()
    counts.report(1, counted(3))
    counts.report(2, counted(4))
    counts.report(1, counted(1, "8"))  # it has swapped
    assert rows_in(counts.total({1, 2})) == 7
    counts.forget_ended({1})
    counts.report(1, counted(1, "8", ready=False))
    assert rows_in(counts.total({1})) == 7
    counts.report(1, counted(2, "8"))
    total = counts.total({1})
    assert VERSION not in total.numbers[declared.ROWS_RUN]
    assert rows_in(total, "8") == 2
    assert total.numbers[declared.REQUESTS] == {("pets",): 3 + 4 + 2}


#: What a worker does: run rows, be replaced after its last report, crash, load its version again.
EVENTS = st.tuples(
    st.sampled_from(["run", "run", "run", "replace", "crash", "reload", "silent"]),
    st.integers(0, 2),
    st.integers(1, 9),
)


@given(st.lists(EVENTS, max_size=40))
def test_a_sum_never_falls_and_is_exact_unless_a_worker_crashes(
    events: Sequence[tuple[str, int, int]],
) -> None:
    """The sum of three workers, of which one always has the version."""
    counts, last_total = KeptCounts(), 0.0
    pids, rows, reported = [100, 101, 102], [0, 0, 0], [0, 0, 0]
    run, next_pid = 0, 103
    for event, worker, more in events:
        silent = worker if event == "silent" else None
        if event == "run":
            rows[worker] += more
            run += more
        elif event == "reload":
            counts.report(pids[worker], counted(rows[worker]))
            rows[worker] = reported[worker] = 0
        elif event in {"replace", "crash"}:
            if event == "replace":
                counts.report(pids[worker], counted(rows[worker]))
            else:
                run -= rows[worker] - reported[worker]
            rows[worker] = reported[worker] = 0
            pids[worker], next_pid = next_pid, next_pid + 1
        for number, pid in enumerate(pids):
            if number != silent:
                counts.report(pid, counted(rows[number]))
                reported[number] = rows[number]
        counts.forget_ended(pids)
        total = rows_in(counts.total({it for n, it in enumerate(pids) if n != silent}))
        assert total >= last_total
        assert total == run
        last_total = total


# --- status and loads


def test_the_status_of_a_group_has_the_lanes_of_all_workers() -> None:
    """Those of a worker that starts are not known."""
    workers: list[dict[str, object]] = [
        {"index": 0, "lanes": 2},
        {"index": 1, "lanes": 1},
        {"index": 2, "lanes": None},
    ]
    assert group_status({"model": "pets/7", "lanes": 2}, workers) == {
        "model": "pets/7",
        "lanes": 3,
        "workers": workers,
    }


@pytest.mark.parametrize(
    ("loads", "together"),
    [
        ([], {}),
        ([{"pets": ModelLoad(0.2, 0.1, ("7",))}], {"pets": ModelLoad(0.2, 0.1, ("7",))}),
        (
            [
                {"pets": ModelLoad(0.25, 0.5, ("7", "8"))},
                {"pets": ModelLoad(0.75, 0.25, ("6", "7")), "cars": ModelLoad(1.0, 0.5)},
            ],
            {"pets": ModelLoad(0.5, 0.1875, ("7",)), "cars": ModelLoad(1.0, 0.5)},
        ),
        (
            [{"pets": ModelLoad(inf, 0.5, ("7",))}, {"pets": ModelLoad(1.0, 0.5, ("8",))}],
            {"pets": ModelLoad(1.0, 0.25)},
        ),
        (
            [{"pets": ModelLoad(inf, inf)}, {"pets": ModelLoad(0.02, 0.5)}],
            {"pets": ModelLoad(0.02, 0.25)},
        ),
        (
            [{"pets": ModelLoad(inf, inf)}, {"pets": ModelLoad(inf, inf)}],
            {"pets": ModelLoad(MAX_WAIT_SECONDS, MAX_WAIT_SECONDS)},
        ),
    ],
    ids=["none", "one", "two", "one hangs, the versions change", "one hangs", "both hang"],
)
def test_the_load_of_a_group_is_the_mean(
    loads: Sequence[dict[str, ModelLoad]], together: dict[str, ModelLoad]
) -> None:
    """A further request makes one of the waits longer; only common versions are certain."""
    assert combined_load(loads) == together
