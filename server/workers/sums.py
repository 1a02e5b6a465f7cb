"""
Add up what several workers report: their readings, their status, and their loads.

Pure, and imports neither numpy nor prometheus_client: the supervisor adds up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, TypeVar

from server.discovery.worker_record import MAX_WAIT_SECONDS, ModelLoad
from server.metrics.counts import HistogramCounts
from server.metrics.declared import (
    MODEL_VERSIONS,
    QUEUE_ROWS,
    READY,
    REQUESTS,
    Combine,
    Kind,
    Metric,
)
from server.metrics.readings import Labels, Readings

K = TypeVar("K")
V = TypeVar("V")

_PROCESS_START = "process_start_time_seconds"


def finite_mean(values: Sequence[float]) -> float:
    """Return the mean of the finite *values*; inf if there is none."""
    finite = [value for value in values if isfinite(value)]
    return sum(finite) / len(finite) if finite else inf


_COMBINED: Mapping[Combine, Callable[[Sequence[float]], float]] = {
    Combine.SUM: sum,
    Combine.MAX: max,
    Combine.MEAN: finite_mean,
}


def add_up(readings: Sequence[Readings]) -> Readings:
    """
    Return the readings of all workers together, each series as its metric combines.

    Of histograms with the same labels and other bounds, which another version of the server has,
    the first is kept.
    """
    total = Readings()
    for metric, numbers in _by_metric([it.numbers for it in readings]).items():
        combined = _COMBINED[metric.combine]
        total.numbers[metric] = {key: combined(values) for key, values in _by_key(numbers).items()}
    for metric, counts in _by_metric([it.counts for it in readings]).items():
        total.counts[metric] = {
            labels: _add_counts(same) for labels, same in _by_key(counts).items()
        }
    for series, values in _by_key([it.process for it in readings]).items():
        total.process[series] = min(values) if series[0] == _PROCESS_START else sum(values)
    return total


def _by_metric(each: Sequence[Mapping[Metric, V]]) -> dict[Metric, list[V]]:
    return _by_key(each)


def _by_key(each: Iterable[Mapping[K, V]]) -> dict[K, list[V]]:
    """Return the values of all mappings, by key."""
    found: dict[K, list[V]] = {}
    for mapping in each:
        for key, value in mapping.items():
            found.setdefault(key, []).append(value)
    return found


def _add_counts(each: Sequence[HistogramCounts]) -> HistogramCounts:
    first, *others = each
    if not others:
        return first
    same = [it for it in each if it.bounds == first.bounds]
    columns = zip(*(it.counts for it in same), strict=True)
    return HistogramCounts(first.bounds, tuple(map(sum, columns)), sum(it.sum for it in same))


def counts_of(readings: Readings) -> Readings:
    """Return only what never falls: the counters and histograms of *readings*."""
    found = Readings()
    found.counts = dict(readings.counts)
    for metric, numbers in readings.numbers.items():
        if metric.kind is Kind.COUNTER:
            found.numbers[metric] = numbers
    found.process = {
        series: value for series, value in readings.process.items() if series[0].endswith("_total")
    }
    return found


def lost_counts(before: Readings, after: Readings) -> Readings:
    """
    Return the counts that a worker had *before*, and that it has not any more *after*.

    A version that was unloaded has no series; one that was loaded again has begun at 0.
    """
    lost = Readings()
    before = counts_of(before)
    for metric, numbers in before.numbers.items():
        now = after.numbers.get(metric, {})
        for labels, value in numbers.items():
            if now.get(labels, -1.0) < value:
                lost.add(metric, value, *labels)
    for metric, counts in before.counts.items():
        later = after.counts.get(metric, {})
        for labels, each in counts.items():
            if labels not in later or sum(later[labels].counts) < sum(each.counts):
                lost.add_counts(metric, each, *labels)
    return lost


def without_ended_series(counts: Readings, workers: Iterable[Readings]) -> Readings:
    """
    Return *counts* without the series of versions and models that none of *workers* has.

    A series of one server ends with its version or model, too.  Only workers that are ready have
    all of theirs; if there is none, nothing is left out.
    """
    ready = [it for it in workers if is_ready(it)]
    if not ready:
        return counts
    versions = {labels for it in ready for labels in it.numbers.get(QUEUE_ROWS, ())}
    models = {labels[0] for it in ready for labels in it.numbers.get(REQUESTS, ())}
    models |= {labels[0] for it in ready for labels in it.numbers.get(MODEL_VERSIONS, ())}

    def kept(metric: Metric, labels: Labels) -> bool:
        if metric.labels[:2] == ("model", "version"):
            return labels[:2] in versions
        return metric.labels[:1] != ("model",) or labels[0] in models

    found = Readings()
    found.process = counts.process
    for metric, numbers in counts.numbers.items():
        found.numbers[metric] = {it: v for it, v in numbers.items() if kept(metric, it)}
    for metric, each in counts.counts.items():
        found.counts[metric] = {it: v for it, v in each.items() if kept(metric, it)}
    return found


def is_ready(readings: Readings) -> bool:
    """Return whether the worker of *readings* takes requests."""
    return readings.numbers.get(READY, {}).get((), 0.0) > 0.0


def group_status(
    own: Mapping[str, object], workers: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    """Return the status *own* of one worker, as a JSON object, with that of all *workers*."""
    lanes = sum(worker["lanes"] or 0 for worker in workers)
    return {**own, "lanes": lanes, "workers": list(workers)}


def combined_load(loads: Sequence[Mapping[str, ModelLoad]]) -> dict[str, ModelLoad]:
    """
    Return the load of workers that share a port, by model, as of one worker.

    The kernel spreads the connections evenly, so a request has to expect the mean of the waits, and
    adds to one of them.  A worker whose lanes all hang, so that its wait is infinite, is left out
    of the mean; if all hang, the wait is `MAX_WAIT_SECONDS`.  The versions are those that each
    worker with the model takes requests for; none while the workers change from one version to the
    next.
    """
    return {name: _combined(each) for name, each in _by_key(loads).items()}


def _combined(loads: Sequence[ModelLoad]) -> ModelLoad:
    added = finite_mean([it.added_wait for it in loads]) / len(loads)
    common = set.intersection(*(set(it.versions) for it in loads))
    return ModelLoad(
        expected_wait=min(finite_mean([it.expected_wait for it in loads]), MAX_WAIT_SECONDS),
        added_wait=min(added, MAX_WAIT_SECONDS),
        versions=tuple(it for it in loads[0].versions if it in common),
    )
