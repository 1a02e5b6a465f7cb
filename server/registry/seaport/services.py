"""
The services that the connections have registered, and those of other sources.

A service belongs to the connection that registered it last, and ends with it: a client whose old
connection is not known to be lost registers again on a new one.  Runs on the reactor thread.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from server.discovery.members import Members
from server.discovery.worker_record import RecordError, WorkerRecord
from server.registry.seaport.lines import (
    ID_PREFIX,
    Service,
    free_line,
    record_of,
    register_line,
    services_of,
)

#: The most services of one connection.
MAX_SERVICES = 100


@dataclass(frozen=True, slots=True)
class _Entry:
    owner: object | None  #: the connection; None: another source
    line: bytes  #: that adds it


class Services:
    """All services, each with the line that describes it to clients."""

    def __init__(self, members: Members, changed: Callable[[], object]) -> None:
        """
        *members* is kept equal to the workers among the services of connections.

        *changed* is called after each change that clients must receive: see `take_changes`.
        """
        self._members = members
        self._changed = changed
        self._entries: dict[str, _Entry] = {}
        self._owned: dict[object, set[str]] = {}
        #: The ids that were added, replaced or removed, each with the connection that did it.
        self._changes: dict[str, object | None] = {}

    def register(self, owner: object, service_id: str, service: Service) -> None:
        """Add or replace a service of *owner*; raises `RecordError`."""
        own = self._owned.setdefault(owner, set())
        if service_id not in own and len(own) >= MAX_SERVICES:
            raise RecordError(f"the connection has {MAX_SERVICES} services already")
        record, line = record_of(service_id, service), register_line(service_id, service)
        old = self._entries.get(service_id)
        if old is not None and old.owner is not owner:
            self._owned[old.owner].discard(service_id)
        own.add(service_id)
        if record is not None:
            self._members.put(record)
        elif old is not None:
            self._members.remove(ID_PREFIX + service_id)
        self._set(service_id, _Entry(owner, line))

    def free(self, owner: object, service_id: str) -> None:
        """Remove a service of *owner*; nothing happens if it is that of another one."""
        own = self._owned.get(owner, set())
        if service_id in own:
            own.remove(service_id)
            self._members.remove(ID_PREFIX + service_id)
            self._set(service_id, None, owner)

    def leave(self, owner: object) -> None:
        """Remove all services of *owner*: its connection is lost."""
        for service_id in tuple(self._owned.get(owner, ())):
            self.free(owner, service_id)
        self._owned.pop(owner, None)

    def publish(self, records: Iterable[WorkerRecord]) -> list[str]:
        """
        Let *records* be the only workers of other sources.

        Returns the reasons why some are left out: they cannot be written in a line.
        """
        lines: dict[str, bytes] = {}
        left_out = []
        for record in records:
            if record.id not in self._members.workers:
                try:
                    lines.update(_lines_of(record))
                except RecordError as error:
                    left_out.append(f"the worker {record.id} is left out: {error}")
        for service_id, entry in tuple(self._entries.items()):
            if entry.owner is None and service_id not in lines:
                self._set(service_id, None)
        for service_id, line in lines.items():
            self._set(service_id, _Entry(None, line))
        return left_out

    def _set(self, service_id: str, entry: _Entry | None, by: object | None = None) -> None:
        old = self._entries.pop(service_id, None)
        if entry is not None:
            self._entries[service_id] = entry
        if (old and old.line) != (entry and entry.line):
            self._changes[service_id] = by
            self._changed()

    def ids(self) -> Iterable[str]:
        """Return the ids of all services."""
        return self._entries.keys()

    def lines_for(self, reader: object, ids: Iterable[str]) -> bytes:
        """
        Return the lines that state what has become of *ids*.

        The services of *reader* itself are left out, since its client would replace its own by the
        copies.
        """
        lines = []
        for service_id in ids:
            entry = self._entries.get(service_id)
            if entry is None:
                lines.append(free_line(service_id))
            elif entry.owner is not reader:
                lines.append(entry.line)
        return b"".join(lines)

    def take_changes(self) -> Mapping[str, object | None]:
        """Return the ids that have changed since the last call, each with what freed it."""
        changes, self._changes = self._changes, {}
        return changes

    def __contains__(self, service_id: str) -> bool:
        return service_id in self._entries


def _lines_of(record: WorkerRecord) -> dict[str, bytes]:
    return {it: register_line(it, service) for it, service in services_of(record).items()}
