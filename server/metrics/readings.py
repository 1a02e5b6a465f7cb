"""
What one scrape has read, and the metric families that are made of it.

`Readings` are filled on the reactor thread, with copies of numbers alone.  `families` makes an
object for each sample, which takes much longer: it is called on a thread of its own.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from server.metrics.declared import METRICS, Kind, Metric
from server.metrics.histogram import HistogramCounts


class Readings:
    """The series of one scrape: the values of their labels, and what was read."""

    __slots__ = ("counts", "numbers")

    def __init__(self) -> None:
        self.numbers: dict[Metric, list[tuple[tuple[str, ...], float]]] = {}
        self.counts: dict[Metric, list[tuple[tuple[str, ...], HistogramCounts]]] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a series of a counter or gauge; *labels* are in the order of those of *metric*."""
        self.numbers.setdefault(metric, []).append((labels, value))

    def add_counts(self, metric: Metric, counts: HistogramCounts, *labels: str) -> None:
        """Add a series of a histogram."""
        self.counts.setdefault(metric, []).append((labels, counts))


def families(readings: Readings) -> Iterator[Family]:
    """Yield the family of each metric that has series; called on any thread."""
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            family = _histogram(metric, readings.counts.get(metric, ()))
        else:
            family = _numbers(metric, readings.numbers.get(metric, ()))
        if family.samples:
            yield family


def _numbers(metric: Metric, rows: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, rows: Iterable[tuple[tuple[str, ...], HistogramCounts]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, counts in rows:
        family.add_metric(labels, _buckets(counts), counts.sum)
    return family


def _buckets(counts: HistogramCounts) -> list[tuple[str, float]]:
    """Return the upper bound of each bucket, as text, and the count of all values up to it."""
    totals = map(float, accumulate(counts.counts))
    return list(zip(_bounds_as_text(counts.bounds), totals, strict=True))


@lru_cache
def _bounds_as_text(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(repr, bounds), "+Inf")
