"""
The lines of seaport's protocol, and the record of a worker in one of them.

Each line is a JSON array: the name of the message, then its values.  Both ends send ``register``
with an id and the service, ``free`` with an id, ``heartbeat``, and ``synced`` after all services
that they have; a server begins with ``helo`` and the address of the client.

A client sends after each reconnection also the services that it has only received.  `COPY` marks
those that were sent to it, by which they differ from its own.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.discovery.worker_record import RecordError, WorkerRecord, checked_id, from_json

#: The key of a service that was sent to a client.
COPY = "_copy"

#: The role of other servers of the protocol: they are no workers.
SERVER_ROLE = "seaport"

#: Before the id of a service in the id of its worker, so that it seldom is that of another source.
ID_PREFIX = "seaport-"

#: The most digits of a version that is a number; more are no exact numbers for clients.
MAX_VERSION_DIGITS = 15

HEARTBEAT = b'["heartbeat"]\n'
SYNCED = b'["synced"]\n'

Service = Mapping[str, Any]  # Any: JSON


class LineError(ValueError):
    """The line is no message of the protocol; the text gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a client."""

    name: str
    id: str = ""  #: of ``register`` and ``free``
    service: Service | None = None  #: of ``register``


def parse(line: bytes) -> Message:
    """Return the message in *line*; raises `LineError`."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(f"a line is no JSON: {error}") from None
    match values:
        case ["register", str(service_id), dict(service), *_]:
            return Message("register", service_id, service)
        case ["free", str(service_id), *_]:
            return Message("free", service_id)
        case ["register" | "free" as name, *_]:
            raise LineError(f"the values of {name} are not those of the protocol")
        case [str(name), *_]:
            return Message(name)
    raise LineError("a line is no array that begins with the name of a message")


def record_of(service_id: str, service: Service) -> WorkerRecord | None:
    """
    Return the worker that *service* describes; None if it is another server of the protocol.

    Its role is the name of its model, its version the only version.  Raises `RecordError`.
    """
    worker_id = checked_id(ID_PREFIX + service_id)
    role, version = service.get("role"), service.get("version")
    if role == SERVER_ROLE:
        return None
    if not isinstance(role, str) or not role:
        raise RecordError("role: expected a text that is not empty")
    content = {
        "id": worker_id,
        "host": service.get("host"),
        "port": service.get("port"),
        "models": {role: {"versions": [] if version is None else [version]}},
    }
    return from_json(_as_json(content))


def services_of(record: WorkerRecord) -> dict[str, Service]:
    """
    Return the services that describe *record* to clients, by id: one for each of its models.

    A version that is a whole number is written as MAJOR.0.0, since clients compare versions by the
    rules of semantic versions.
    """
    services: dict[str, Service] = {}
    for name, load in (record.models or {}).items():
        # No service of a client has this id: `record_of` refuses those with "/".
        service_id = f"{record.id}/{name}"
        version = max(load.versions, key=_numerically, default="0")
        services[service_id] = {
            "role": name,
            "version": f"{version}.0.0" if _is_number(version) else version,
            "host": record.host,
            "port": record.port,
            "id": service_id,
        }
    return services


def _numerically(version: str) -> tuple[int, str]:
    return (int(version), "") if _is_number(version) else (-1, version)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal() and len(version) <= MAX_VERSION_DIGITS


def register_line(service_id: str, service: Service) -> bytes:
    """Return the line that adds *service*, marked as a copy; raises `RecordError`."""
    return _as_json(["register", service_id, {**service, COPY: True}]) + b"\n"


def free_line(service_id: str) -> bytes:
    """Return the line that removes a service."""
    return orjson.dumps(["free", service_id]) + b"\n"


def _as_json(content: object) -> bytes:
    """Return *content* as JSON; raises `RecordError` if it is nested deeper than JSON may be."""
    try:
        return orjson.dumps(content)
    except TypeError as error:
        raise RecordError(f"the service cannot be written as JSON: {error}") from None


def helo_line(host: str) -> bytes:
    """Return the first line of a server: the address of the client, as the server sees it."""
    return orjson.dumps(["helo", host]) + b"\n"
