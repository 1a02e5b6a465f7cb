"""
`GET /debug/batcher`: the queues of the batcher, its last runs, and the reason for each run.

Runs on the reactor thread.  The key of a time ends with ``_ms``, and the key of a rate with
``_per_s``; the other numbers are counts, such as rows, except for the factor ``margin``.
"""

from collections.abc import Callable
from dataclasses import asdict

from twisted.internet.defer import Deferred, succeed

from batcher.trace import Run
from model.execution.recorder import BatcherReport, QueueReport, Totals
from server.http.messages import HTTPRequest, HTTPResponse, json_response
from server.inference import Inference


class DebugAPI:
    """Answers `GET /debug/batcher`."""

    def __init__(self, inference: Callable[[], Inference], worker: int | None = None) -> None:
        """
        *inference* returns the `Inference`; until it is ready, raises `ModelNotReady`.

        *worker* is the number of this worker, if there are several.
        """
        self._inference = inference
        self._worker = {} if worker is None else {"worker": worker}

    def batcher(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer with the policy, the state of each queue, and the last runs.

        They are those of this worker alone; if there are several, "worker" is its number.  Raises
        `ModelNotReady` until the model is ready.
        """
        inference = self._inference()
        decoding = inference.admission.decoding
        facts = {
            "threads": decoding.threads,
            "pending": inference.admission.pending,
            "average_ms": _ms(decoding.average),
        }
        model = inference.model
        report = model.recorder.report(model.batcher.stats())
        content = self._worker | report_of(report) | {"decoding": facts}
        return succeed(json_response(content))


def report_of(report: BatcherReport) -> dict[str, object]:
    """Return *report* as a JSON object; `flushes` has the value of `runs`, under a former name."""
    stats = report.stats
    runs = [_run(run, stats.now) for run in report.runs]
    return {
        "policy": stats.policy,
        "state": stats.state.value,
        "lanes": stats.lanes,
        "running": stats.running,
        "hung": stats.hung,
        "waiting": stats.waiting,
        "retrying": stats.retrying,
        "totals": _totals(report.totals),
        "queues": [_queue(queue) for queue in report.queues],
        "runs": runs,
        "flushes": runs,
    }


def _totals(totals: Totals) -> dict[str, object]:
    content = asdict(totals)
    content["runs_by_rows"] = {str(rows): runs for rows, runs in totals.runs_by_rows.items()}
    for name in ("run", "dispatch"):
        content[f"{name}_ms"] = _ms(content.pop(f"{name}_seconds"))
    return content


def _queue(queue: QueueReport) -> dict[str, object]:
    return {
        "name": queue.name,
        "model": queue.model,
        "waiting": queue.rows,
        "waited_ms": _ms(queue.waited),
        "arrivals_per_s": round(queue.arrivals, 3),
        "run_ms": {str(rows): _ms(seconds) for rows, seconds in queue.latency.items()},
        "knee": queue.knee,
        "best_per_s": round(queue.best, 3),
        "cap": queue.cap,
        "margin": round(queue.margin, 3),
    }


def _run(run: Run, now: float) -> dict[str, object]:
    """
    Return *run* as a JSON object; its key `left` is the former name of `waiting_rows`.

    *now* is the time of the report.
    """
    return {
        "ago_ms": _ms(max(0.0, now - run.started)),  # the clock may have been set back
        "rows": run.rows,
        "cap": run.cap,
        "waiting_rows": run.waiting_rows,
        "left": run.waiting_rows,
        "reason": run.reason,
        "expected_ms": _ms(run.expected),
        "run_ms": None if run.seconds is None else _ms(run.seconds),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
