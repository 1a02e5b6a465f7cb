"""
What a registry has of one worker: its address, its models, and how long a request would take.

Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson

from server.discovery.addresses import plain_address

#: The most bytes of a record as JSON.
MAX_RECORD_BYTES = 256 * 1024

#: The most models of a record, and characters of a version: a registry keeps thousands of records.
MAX_MODELS = 1000
MAX_VERSION_CHARACTERS = 128

#: The longest wait in a record: while all lanes of a server hang, its wait is infinite.
MAX_WAIT_SECONDS = 3600.0

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*\.?")
_ADDRESS = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class RecordError(ValueError):
    """The JSON is no record of a worker; the message gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One model of a worker."""

    expected_wait: float = 0.0  #: seconds until a request that arrives now would be answered
    #: Seconds by which each further request makes that wait longer; 0 if it is not known.
    added_wait: float = 0.0
    versions: tuple[str, ...] = ()  #: that take requests; empty if they are not known


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One worker that takes requests."""

    id: str  #: letters, digits, ".", "_" and "-"; another one for each start of a worker
    host: str  #: a name or an address, without brackets
    port: int
    #: By name; None if they are not known, as for a name in the DNS: then it may have any model.
    models: Mapping[str, ModelLoad] | None = None

    def serves(self, model: str | None) -> bool:
        """Return whether it may take requests for *model*; None: those that name no model."""
        return model is None or self.models is None or model in self.models

    def content(self) -> dict[str, object]:
        """Return the members of the record in JSON."""
        content: dict[str, object] = {"id": self.id, "host": self.host, "port": self.port}
        if self.models is not None:
            content["models"] = {
                name: {
                    "versions": list(load.versions),
                    "expected_wait_ms": round(load.expected_wait * 1e3, 3),
                    "added_wait_ms": round(load.added_wait * 1e3, 3),
                }
                for name, load in self.models.items()
            }
        return content

    def to_json(self) -> bytes:
        """Return the record as JSON; `from_json` reads it."""
        return orjson.dumps(self.content())


def from_json(text: bytes) -> WorkerRecord:
    """Return the record in *text*; raises `RecordError`.  Members that it lacks are ignored."""
    if len(text) > MAX_RECORD_BYTES:
        raise RecordError(f"the record has more than {MAX_RECORD_BYTES} bytes")
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"the record is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise RecordError("the record is no JSON object")
    return WorkerRecord(
        checked_id(content.get("id")), _host(content), _port(content), _models(content)
    )


def checked_id(value: object) -> str:
    """Return *value* if it may be the id of a record; raises `RecordError`."""
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise RecordError(
            f"id: expected up to 128 letters, digits, '.', '_' and '-', got {_short(value)}"
        )
    return value


def _host(content: Mapping[str, Any]) -> str:
    value = content.get("host")
    if not isinstance(value, str) or not _can_be_connected_to(value):
        raise RecordError(f"host: expected a host name or an address, got {_short(value)}")
    return value


def _can_be_connected_to(host: str) -> bool:
    """Return whether *host* is a name, or the address of one machine."""
    if _ADDRESS.fullmatch(host) is None:
        return _NAME.fullmatch(host) is not None
    try:
        address = plain_address(host)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast)


def _port(content: Mapping[str, Any]) -> int:
    value = content.get("port")
    if type(value) is not int or not 0 < value < 65536:
        raise RecordError(f"port: expected a whole number from 1 to 65535, got {_short(value)}")
    return value


def _models(content: Mapping[str, Any]) -> Mapping[str, ModelLoad] | None:
    models = content.get("models")
    if models is None:
        return None
    if not isinstance(models, dict):
        raise RecordError(f"models: expected an object, got {_short(models)}")
    if len(models) > MAX_MODELS:
        raise RecordError(f"models: expected up to {MAX_MODELS}, got {len(models)}")
    return {name: _load(name, load) for name, load in models.items()}


def _load(name: str, load: object) -> ModelLoad:
    if not isinstance(load, dict):
        raise RecordError(f"the model {name[:80]!r}: expected an object, got {_short(load)}")
    versions = load.get("versions", [])
    if not isinstance(versions, list):
        raise RecordError(f"versions of {name[:80]!r}: expected a list, got {_short(versions)}")
    for version in versions:
        if not isinstance(version, str) or len(version) > MAX_VERSION_CHARACTERS:
            raise RecordError(
                f"versions of {name[:80]!r}: expected texts of up to {MAX_VERSION_CHARACTERS} "
                f"characters, got {_short(version)}"
            )
    return ModelLoad(
        _seconds(name, load, "expected_wait_ms"),
        _seconds(name, load, "added_wait_ms"),
        tuple(versions),
    )


def _seconds(name: str, load: Mapping[str, object], key: str) -> float:
    value = load.get(key, 0)
    if type(value) not in (int, float) or not isfinite(value) or value < 0:  # type: ignore[arg-type, operator]  # the first test
        raise RecordError(
            f"{key} of {name[:80]!r}: expected milliseconds of at least 0, got {_short(value)}"
        )
    return float(value) / 1e3  # type: ignore[arg-type]  # the same


def _short(value: object) -> str:
    """Return *value* in a few words of JSON; a list or an object may be too deep for `repr`."""
    if value is None:
        return "null, or it is missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
