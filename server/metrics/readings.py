"""
What one scrape has read: the series of each metric, and their JSON for another process.

`Readings` are filled on the reactor thread, with copies of numbers alone.  Pure, and imports
neither numpy nor prometheus_client: the supervisor of workers adds readings up.
"""

from math import inf
from typing import Any, TypeAlias

import orjson

from server.metrics.counts import HistogramCounts
from server.metrics.declared import METRICS, Metric

#: The values of the labels of a series, in the order of the labels of its metric.
Labels: TypeAlias = tuple[str, ...]

#: A series of prometheus_client: the name of its sample, and the names and values of its labels.
ProcessSeries: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

_BY_NAME = {metric.name: metric for metric in METRICS}


class Readings:
    """The series of one scrape: the values of their labels, and what was read."""

    __slots__ = ("counts", "numbers", "process")

    def __init__(self) -> None:
        self.numbers: dict[Metric, dict[Labels, float]] = {}
        self.counts: dict[Metric, dict[Labels, HistogramCounts]] = {}
        #: Those of the process, if other processes are added to them.
        self.process: dict[ProcessSeries, float] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a series of a counter or gauge; *labels* are in the order of those of *metric*."""
        self.numbers.setdefault(metric, {})[labels] = value

    def add_counts(self, metric: Metric, counts: HistogramCounts, *labels: str) -> None:
        """Add a series of a histogram."""
        self.counts.setdefault(metric, {})[labels] = counts


def to_json(readings: Readings) -> bytes:
    """Return *readings* as JSON, which `from_content` reads; called on any thread."""
    return orjson.dumps(
        {
            "numbers": {it.name: list(rows.items()) for it, rows in readings.numbers.items()},
            "counts": {
                it.name: [
                    (labels, each.bounds, each.counts, each.sum) for labels, each in rows.items()
                ]
                for it, rows in readings.counts.items()
            },
            "process": list(readings.process.items()),
        }
    )


def from_content(content: Any) -> Readings:  # Any: JSON
    """
    Return the readings in *content*, the decoded JSON of `to_json`; called on any thread.

    Metrics that this version of the server does not have are left out: while workers are replaced,
    they may be of different versions.
    """
    readings = Readings()
    for name, rows in content["numbers"].items():
        if metric := _BY_NAME.get(name):
            readings.numbers[metric] = {
                # JSON has no infinity.
                tuple(labels): inf if value is None else float(value)
                for labels, value in rows
            }
    for name, rows in content["counts"].items():
        if metric := _BY_NAME.get(name):
            readings.counts[metric] = {
                tuple(labels): HistogramCounts(tuple(bounds), tuple(counts), total)
                for labels, bounds, counts, total in rows
            }
    readings.process = {
        (name, tuple((label, text) for label, text in labels)): value
        for (name, labels), value in content["process"]
    }
    return readings
