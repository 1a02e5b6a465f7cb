"""
Tell why batches leave as they do, and what they wait for: `GET /debug/batcher`.

Runs on the reactor thread.  Keys name the unit of what is no number of rows.
"""

from collections.abc import Callable
from dataclasses import asdict

import orjson
from twisted.internet.defer import Deferred, succeed

from batcher.stats import BatcherReport, Flush, QueueReport
from server.http.messages import HTTPRequest, HTTPResponse
from server.inference import Inference


class DebugAPI:
    """The endpoint of `GET /debug/batcher`."""

    def __init__(self, inference: Callable[[], Inference]) -> None:
        """*inference* raises `HTTPError` while there is none."""
        self._inference = inference

    def batcher(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the policy, what it knows of each kind of run, and the last batches."""
        inference = self._inference()
        decoding = {
            "threads": inference.decoding.threads,
            "pending": inference.pending,
            "average_ms": _ms(inference.decoding.average),
        }
        content = report_of(inference.model.batcher.report()) | {"decoding": decoding}
        return succeed(HTTPResponse(200, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)))


def report_of(report: BatcherReport) -> dict[str, object]:
    """Return *report* as JSON has it."""
    stats = report.stats
    return {
        "policy": report.policy,
        "state": stats.state.value,
        "lanes": stats.lanes,
        "running": stats.running,
        "hung": stats.hung,
        "waiting": stats.waiting,
        "retrying": stats.retrying,
        "totals": asdict(stats.totals),
        "queues": [_queue(queue) for queue in report.queues],
        "flushes": [_flush(flush) for flush in report.flushes],
    }


def _queue(queue: QueueReport) -> dict[str, object]:
    return {
        "name": queue.name,
        "waiting": queue.rows,
        "waited_ms": _ms(queue.waited),
        "arrivals_per_s": round(queue.arrivals, 3),
        "run_ms": {str(rows): _ms(seconds) for rows, seconds in queue.latency.items()},
        "knee": queue.knee,
        "best_per_s": round(queue.best, 3),
        "cap": queue.cap,
        "margin": round(queue.margin, 3),
    }


def _flush(flush: Flush) -> dict[str, object]:
    return {
        "ago_ms": _ms(flush.ago),
        "rows": flush.rows,
        "cap": flush.cap,
        "left": flush.left,
        "reason": flush.reason,
        "expected_ms": _ms(flush.expected),
        "run_ms": None if flush.seconds is None else _ms(flush.seconds),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
