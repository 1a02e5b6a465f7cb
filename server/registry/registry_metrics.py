"""
The metrics of the registry, for Prometheus.

Runs on the reactor thread.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.registry.directory import Directory
from server.registry.leases import Leases

_PREFIX = "tensorferry_registry_"


class RegistryMetrics(Collector):
    """Collects the metrics of one registry and of its process."""

    def __init__(self, directory: Directory, leases: Leases) -> None:
        self.refused = 0  #: registrations that were refused so far
        self.not_found = 0  #: requests for a worker so far that found none
        self._directory = directory
        self._leases = leases
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        workers = _gauge("workers", "Workers that a source lists.", "source")
        current = _gauge("source_current", "1 if the source is up to date, 0 if away.", "source")
        for members in self._directory.sources:
            workers.add_metric((members.source,), len(members.workers))
            current.add_metric((members.source,), 0.0 if members.away else 1.0)
        yield workers
        yield current
        for name, text, value in (
            ("choices_total", "Workers that were handed out.", self._directory.choices),
            ("not_found_total", "Requests for a worker that found none.", self.not_found),
            ("refused_registrations_total", "Registrations that were refused.", self.refused),
            ("leases_ended_total", "Leases that have ended.", self._leases.ended),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)
        yield from self._process.collect()


def _gauge(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=(label,))
