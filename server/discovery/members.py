"""
The workers of one source, as it was read last.

A source writes its `Members`; a registry process reads those of all its sources.  Runs on the
reactor thread.
"""

from collections.abc import Callable, Mapping

from server.discovery.worker_record import WorkerRecord

#: Why a source that has not been read since the start has no workers.
NOT_READ = "not read yet"


class Members:
    """The workers of one source, by id; they stay when the source cannot be reached."""

    def __init__(self, source: str, seconds: Callable[[], float]) -> None:
        """*source* names the source in reports; *seconds* returns the monotonic time."""
        self.source = source
        self._seconds = seconds
        self._workers: dict[str, WorkerRecord] = {}
        #: When each record was last written, in seconds of the clock.
        self.written: dict[str, float] = {}
        #: Changes when a worker is added or removed, when its address or models change, and when
        #: the source goes away or is up to date again; not when only waits change.
        self.version = 0
        #: Why the source cannot be reached, in words; empty while the workers are up to date.
        self.away = NOT_READ
        self.away_since: float | None = seconds()

    @property
    def workers(self) -> Mapping[str, WorkerRecord]:
        """The workers by id; the mapping changes with the source."""
        return self._workers

    def put(self, record: WorkerRecord) -> None:
        """Add *record*, or replace the one of the same id."""
        old = self._workers.get(record.id)
        self._workers[record.id] = record
        self.written[record.id] = self._seconds()
        if old is None or _identity(old) != _identity(record):
            self.version += 1

    def remove(self, worker_id: str) -> None:
        """Remove the worker; nothing happens if there is none of this id."""
        if self._workers.pop(worker_id, None) is not None:
            del self.written[worker_id]
            self.version += 1

    def replace(self, records: Mapping[str, WorkerRecord]) -> None:
        """Make *records*, by id, the only workers: the source was read anew."""
        for worker_id in self._workers.keys() - records.keys():
            self.remove(worker_id)
        for record in records.values():
            self.put(record)

    def is_current(self) -> None:
        """Called when the workers are up to date again."""
        if self.away_since is not None:
            self.version += 1
        self.away, self.away_since = "", None

    def is_away(self, reason: str) -> None:
        """Called when the source cannot be reached; *reason* is one line."""
        if self.away_since is None:
            self.away_since = self._seconds()
            self.version += 1
        self.away = reason


def _identity(record: WorkerRecord) -> object:
    models = None if record.models is None else frozenset(record.models)
    return record.host, record.port, models
