"""Why batches leave as they do: server/api/debug.py."""

import numpy as np
import pytest

from batcher.stats import BatcherReport, BatcherStats, Flush, QueueReport, State, Totals
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
    stats=BatcherStats(State.RUNNING, 3, 1, 2, 1, 0, Totals(runs=9, run_rows=30, answered=26)),
    policy="take what pays",
    queues=(
        QueueReport(
            name="serving_default",
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
    flushes=(
        Flush(0.002, 4, 16, 0, "idle", 0.007, None),
        Flush(0.0125, 16, 16, 3, "full", 0.02, 0.0212345),
    ),
)


def test_a_report_is_told_in_milliseconds_and_rows() -> None:
    """What is not known yet is null."""
    assert report_of(REPORT) == {
        "policy": "take what pays",
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
            "refused": 0,
        },
        "queues": [
            {
                "name": "serving_default",
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
        "flushes": [
            {
                "ago_ms": 2.0,
                "rows": 4,
                "cap": 16,
                "left": 0,
                "reason": "idle",
                "expected_ms": 7.0,
                "run_ms": None,
            },
            {
                "ago_ms": 12.5,
                "rows": 16,
                "cap": 16,
                "left": 3,
                "reason": "full",
                "expected_ms": 20.0,
                "run_ms": 21.235,
            },
        ],
    }


def asked(harness: ServiceHarness) -> Answer:
    """Return how a request for the report is answered."""
    client = harness.connect()
    client.send(request("GET", "/debug/batcher"))
    return client.answer


def test_there_is_no_report_before_there_is_a_model(harness: ServiceHarness) -> None:
    """A client is told to come again."""
    harness.start()
    answer = asked(harness)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_each_kind_of_run_has_a_name(harness: ServiceHarness) -> None:
    """Of those that were run, the latest first: the signature's, and the shape where it is open."""
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


def test_a_server_tells_what_it_does(harness: ServiceHarness) -> None:
    """And what waits to be decoded, which no batcher knows of."""
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
