"""
Make the metric families of what one scrape has read.

`families` makes an object for each sample, which takes longer than to read the numbers: it is
called on a thread of its own.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from server.metrics.counts import HistogramCounts
from server.metrics.declared import METRICS, Kind, Metric
from server.metrics.readings import Labels, Readings


def families(readings: Readings) -> Iterator[Family]:
    """Yield the family of each metric that has series; called on any thread."""
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            family = _histogram(metric, readings.counts.get(metric, {}))
        else:
            family = _numbers(metric, readings.numbers.get(metric, {}))
        if family.samples:
            yield family


def _numbers(metric: Metric, rows: Mapping[Labels, float]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, rows: Mapping[Labels, HistogramCounts]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, counts in rows.items():
        family.add_metric(labels, _buckets(counts), counts.sum)
    return family


def _buckets(counts: HistogramCounts) -> list[tuple[str, float]]:
    """Return the upper bound of each bucket, as text, and the count of all values up to it."""
    totals = map(float, accumulate(counts.counts))
    return list(zip(_bounds_as_text(counts.bounds), totals, strict=True))


@lru_cache
def _bounds_as_text(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(repr, bounds), "+Inf")
