"""
Read the metrics of the models and of the repository.

Runs on the reactor thread, and changes nothing.  The labels have names of models in the repository,
or fixed words and numbers: no request can add a series.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from batcher.share import Share
from model.execution.queues import FeedQueue
from model.execution.recorder import Totals
from model.repository.version_policy import Stage
from server.inference import Inference
from server.metrics import declared
from server.metrics.counts import HistogramCounts
from server.metrics.readings import Readings
from server.models import Models
from server.repository.reconciler import Reconciler
from server.repository.version_report import report_models

#: Upper bounds of the rows of a batch.
ROWS_BOUNDS = tuple(float(1 << power) for power in range(11))


def read_versions(reconciler: Reconciler, now: float, readings: Readings) -> None:
    """Add the series of all versions in memory to *readings*, at the time *now*, in seconds."""
    versions = versions_in_memory(reconciler)
    if not versions:
        return
    waiting = _waiting_by_share(versions[0].model.batcher.waiting)
    for inference in versions:
        _read_version(inference, waiting.get(inference.model.queues.share, (0, inf)), now, readings)


def versions_in_memory(reconciler: Reconciler) -> list[Inference]:
    """
    Return the versions that are loaded, each name and version once.

    While new files of a version replace the old ones, both are in memory, and the one that takes
    requests is returned.
    """
    found: dict[tuple[str, str], Inference] = {}
    for stage in (Stage.LOADED, Stage.DRAINED, Stage.DRAINING, Stage.SERVING):
        for it in reconciler.held.values():
            if it.stage is stage and it.host.inference is not None:
                model = it.host.inference.model
                found[model.name, model.version] = it.host.inference
    return list(found.values())


def _waiting_by_share(queues: Iterable[FeedQueue]) -> Mapping[Share | None, tuple[int, float]]:
    """Return the rows that wait in *queues* and the arrival of the oldest, by share."""
    waiting: dict[Share | None, tuple[int, float]] = {}
    for queue in queues:
        rows, oldest = waiting.get(queue.share, (0, inf))
        waiting[queue.share] = rows + queue.rows, min(oldest, queue.oldest)
    return waiting


def _read_version(
    inference: Inference, waiting: tuple[int, float], now: float, readings: Readings
) -> None:
    """*waiting* is what `_waiting_by_share` returns for the share of the version."""
    model = inference.model
    labels = model.name, model.version
    rows, oldest = waiting
    readings.add(declared.QUEUE_ROWS, rows, *labels)
    age = max(0.0, now - oldest) if rows else 0.0
    readings.add(declared.QUEUE_OLDEST, age, *labels)
    readings.add(declared.EXPECTED_WAIT, max(age, inference.admission.expected_delay()), *labels)
    largest = max(queue.cap for queue in model.queues.known.values())
    readings.add(declared.LARGEST_BATCH, largest, *labels)
    for phase, counts in inference.phases.read().items():
        readings.add_counts(declared.REQUEST_PHASE, counts, *labels, phase)
    _read_totals(model.recorder.of(model.queues.share), labels, readings)


def _read_totals(totals: Totals, labels: tuple[str, str], readings: Readings) -> None:
    """Add the *totals* of a version, which *labels* name, to *readings*."""
    readings.add_counts(declared.BATCH_ROWS, rows_histogram(totals.runs_by_rows), *labels)
    for reason, count in totals.runs_by_reason.items():
        readings.add(declared.LAUNCHES, count, *labels, reason)
    readings.add(declared.RUN_SECONDS, totals.run_seconds, *labels)
    readings.add(declared.DISPATCH_SECONDS, totals.dispatch_seconds, *labels)
    readings.add(declared.ROWS_RUN, totals.run_rows, *labels)
    readings.add(declared.ROWS, totals.answered, *labels, "answered", "")
    readings.add(declared.ROWS, totals.failed, *labels, "failed", "")
    by_stage: Mapping[str, Mapping[Any, int]] = {
        "refused": totals.refused_by_cause,
        "expired": totals.expired_by_stage,
        "cancelled": totals.cancelled_by_stage,
    }
    for outcome, counts in by_stage.items():
        for stage, count in counts.items():
            readings.add(declared.ROWS, count, *labels, outcome, stage)


def rows_histogram(runs_by_rows: Mapping[int, int]) -> HistogramCounts:
    """Return the histogram of the rows of batches, given the number of batches of each size."""
    counts = [0] * (len(ROWS_BOUNDS) + 1)
    for rows, runs in runs_by_rows.items():
        counts[bisect_left(ROWS_BOUNDS, rows)] += runs
    total = sum(rows * runs for rows, runs in runs_by_rows.items())
    return HistogramCounts(ROWS_BOUNDS, tuple(counts), float(total))


def read_requests(models: Models, readings: Readings) -> None:
    """Add the requests for each model to *readings*."""
    for name, requests in models.requests.items():
        readings.add(declared.REQUESTS, requests.received, name)
        readings.add(declared.REQUESTS_IN_PROGRESS, requests.in_progress, name)
        for (outcome, cause), count in requests.ended.items():
            readings.add(declared.REQUESTS_ENDED, count, name, outcome, cause)


def read_repository(reconciler: Reconciler, readings: Readings) -> None:
    """Add the versions by state, and the loads, to *readings*."""
    reports = report_models(reconciler)
    for model in reports:
        states = Counter(it.state for it in model.versions)
        for state, count in states.items():
            readings.add(declared.MODEL_VERSIONS, count, model.name, state)
    names = {it.name for it in reports}
    for (name, outcome), count in reconciler.loads.items():
        if name in names:  # else the model was removed
            readings.add(declared.LOADS, count, name, outcome)
