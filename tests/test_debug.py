"""The report of the batcher: server/api/debug.py."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from batcher.stats import BatcherStats, State
from batcher.trace import Run
from model.execution.recorder import BatcherReport, QueueReport, Totals
from model.signature import Signature, TensorSpec
from server.api.debug import report_of
from tests.fakes.http import Answer, request
from tests.fakes.server import SIGNATURE
from tests.fakes.service import ServiceHarness
from tests.images import coloured, encoded

#: Rows of any number of words.
WORDS = Signature(
    (TensorSpec("words", np.dtype(np.float32), (None, None)),),
    (TensorSpec("sums", np.dtype(np.float32), (None, 1)),),
    "words",
)

pytestmark = pytest.mark.usefixtures("log", "surroundings")

REPORT = BatcherReport(
    stats=BatcherStats(State.RUNNING, 3, 1, 2, 1, 0, policy="best lot", now=64.002),
    totals=Totals(
        runs=9,
        run_rows=30,
        answered=26,
        refused=2,
        refused_by_cause={"late": 2},
        runs_by_reason={"lot": 9},
        runs_by_rows={2: 3, 4: 6},
        run_seconds=0.125,
        dispatch_seconds=0.0015,
    ),
    queues=(
        QueueReport(
            name="serving_default",
            model="pets/7",
            rows={"high": 1, "normal": 2, "low": 0},
            waited=0.0125,
            arrivals=123.45678,
            latency={1: 0.004, 8: 0.0105},
            knee=8,
            best=761.90476,
            cap=16,
            margin=1.1,
        ),
    ),
    runs=(
        Run(4, 16, "idle", None, started=64.0, expected=0.007),
        Run(16, 16, "full", 0.0212345, started=63.9895, expected=0.02, waiting_rows=3),
    ),
)

#: The runs as JSON; `left` is the former name of `waiting_rows`.
RUNS = [
    {"ago_ms": 2.0, "rows": 4, "cap": 16, "waiting_rows": 0, "left": 0, "reason": "idle",
        "expected_ms": 7.0, "run_ms": None},
    {"ago_ms": 12.5, "rows": 16, "cap": 16, "waiting_rows": 3, "left": 3, "reason": "full",
        "expected_ms": 20.0, "run_ms": 21.235},
]  # fmt: skip


def test_a_report_is_in_milliseconds_and_rows() -> None:
    """The time of a run that has not ended is null; `flushes` is the former name of `runs`."""
    assert report_of(REPORT) == {
        "policy": "best lot",
        "state": "running",
        "lanes": 2,
        "running": 1,
        "hung": 0,
        "waiting": 3,
        "retrying": 1,
        "totals": {
            "runs": 9,
            "run_rows": 30,
            "answered": 26,
            "failed": 0,
            "expired": 0,
            "cancelled": 0,
            "refused": 2,
            "expired_by_stage": {},
            "cancelled_by_stage": {},
            "refused_by_cause": {"late": 2},
            "runs_by_reason": {"lot": 9},
            "runs_by_rows": {"2": 3, "4": 6},
            "run_ms": 125.0,
            "dispatch_ms": 1.5,
        },
        "queues": [
            {
                "name": "serving_default",
                "model": "pets/7",
                "waiting": {"high": 1, "normal": 2, "low": 0},
                "waited_ms": 12.5,
                "arrivals_per_s": 123.457,
                "run_ms": {"1": 4.0, "8": 10.5},
                "knee": 8,
                "best_per_s": 761.905,
                "cap": 16,
                "margin": 1.1,
            }
        ],
        "runs": RUNS,
        "flushes": RUNS,
    }


def test_no_run_is_in_the_future() -> None:
    """A clock that is set back to before a launch makes it zero seconds ago."""
    content = report_of(replace(REPORT, stats=replace(REPORT.stats, now=60.0)))
    assert [run["ago_ms"] for run in cast("list[dict[str, object]]", content["runs"])] == [0.0, 0.0]


def asked(harness: ServiceHarness) -> Answer:
    """Return the response to a request for the report."""
    client = harness.connect()
    client.send(request("GET", "/debug/batcher"))
    return client.answer


def test_each_queue_has_a_name(harness: ServiceHarness) -> None:
    """The name of the signature, and the shape if that is open; the last used queue is first."""
    harness.runner.signatures = (SIGNATURE, WORDS)
    client = harness.started().connect()
    json = {"content-type": "application/json"}
    for inputs in ("[[1]]", "[[1, 2]]"):
        body = f'{{"inputs": {inputs}, "signature_name": "words"}}'.encode()
        client.send(request(body=body, headers=json))
        harness.turn()
    client.send(request(body=encoded(coloured(16, 16), "PNG")))
    harness.turn()
    assert client.statuses == [200] * 3
    names = [queue["name"] for queue in asked(harness).json()["queues"]]
    assert names == ["serving_default", "words [2]", "words [1]"]


def test_the_report_has_the_state_of_the_server(harness: ServiceHarness) -> None:
    """Including the requests that wait for a decode thread, which the batcher does not know."""
    client = harness.started().connect()
    assert asked(harness).json()["decoding"]["average_ms"] == 0.0
    client.send(request(body=encoded(coloured(16, 16), "PNG")))
    report = asked(harness).json()
    threads = harness.service.pool.threads
    assert report["decoding"] == {"threads": threads, "pending": 1, "average_ms": 0.0}
    assert (report["state"], report["lanes"], report["totals"]["answered"]) == ("running", 1, 0)
    harness.turn()
    report = asked(harness).json()
    assert report["decoding"]["pending"] == 0
    assert (report["totals"]["answered"], client.statuses) == (1, [200])
