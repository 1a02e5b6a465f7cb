"""
Read the metrics of a server: copies of the numbers that its parts have counted.

Runs on the reactor thread, and changes nothing.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from model.execution.decode_pool import DecodePool
from model.execution.lane_pool import LanePool
from server.discovery.announcer import Announcement
from server.http.connections import Connections
from server.metrics import declared
from server.metrics.event_loop import EventLoopLag
from server.metrics.model_metrics import read_repository, read_requests, read_versions
from server.metrics.readings import Readings
from server.models import Models
from server.repository.reconciler import Reconciler
from tensorferry import __version__


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """The parts of a server that have metrics."""

    models: Models
    reconciler: Reconciler
    lanes: LanePool
    pool: DecodePool
    connections: Connections
    lag: EventLoopLag
    announcement: Announcement
    ready: Callable[[], bool]  #: whether `GET /readyz` answers 200
    #: The number of the worker, if there are several; then the label of each of its lanes has it.
    worker: int | None = None

    def read(self) -> Readings:
        """Return all metrics, except for those of the process and of the GPUs."""
        readings = Readings()
        read_requests(self.models, readings)
        read_versions(self.reconciler, self.reconciler.seconds(), readings)
        read_repository(self.reconciler, readings)
        self._read_lanes(readings)
        self._read_decode_pool(readings)
        self._read_front_end(readings)
        readings.add(declared.READY, self.ready())
        if self.worker is None:  # else the supervisor adds these
            readings.add(declared.ANNOUNCED, self.announcement.is_registered)
            readings.add(declared.ANNOUNCE_FAILURES, self.announcement.failures)
        readings.add(declared.BUILD_INFO, 1, __version__, *_versions())
        return readings

    def _read_lanes(self, readings: Readings) -> None:
        readings.add(declared.LANES, len(self.lanes.lanes))
        readings.add(declared.LANES_HUNG, len(self.lanes.hung))
        prefix = "" if self.worker is None else f"{self.worker}/"
        for number, lane in enumerate(self.lanes.lanes):
            readings.add(declared.LANE_BUSY, lane.busy_seconds, f"{prefix}{number}")

    def _read_decode_pool(self, readings: Readings) -> None:
        report = self.pool.report()
        readings.add(declared.DECODE_THREADS, self.pool.threads)
        readings.add(declared.DECODE_BUSY, report.busy)
        readings.add(declared.DECODE_WAITING, report.waiting)
        readings.add(declared.DECODE_OLDEST, report.oldest_waiting)
        readings.add(declared.DECODE_LONGEST, report.longest_running)
        readings.add(declared.DECODE_JOBS, report.ended)

    def _read_front_end(self, readings: Readings) -> None:
        connections = self.connections
        readings.add_counts(declared.EVENT_LOOP_LAG, self.lag.counts())
        readings.add(declared.CONNECTIONS_OPEN, len(connections.open))
        readings.add(declared.CONNECTIONS_ACCEPTED, connections.accepted)
        readings.add(declared.CONNECTIONS_REFUSED, connections.refused)
        readings.add(declared.BODY_BYTES, connections.limits.held)
        for status, count in connections.answers.items():
            readings.add(declared.RESPONSES, count, str(status))


@cache
def _versions() -> tuple[str, str]:
    """Return the versions of TensorFlow, "" if it is not installed, and of Python."""
    try:
        tensorflow = version("tensorflow")
    except PackageNotFoundError:
        tensorflow = ""
    return tensorflow, platform.python_version()
