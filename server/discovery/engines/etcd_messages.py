"""
The messages of etcd's JSON gateway: keys and values are base64, whole numbers are texts.

Pure.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson

from server.discovery.engine import EngineError

#: A JSON object of etcd.
Message = Mapping[str, Any]  # Any: JSON

#: Codes of gRPC: the server cannot answer now; credentials are missing or no longer valid.
UNAVAILABLE, UNAUTHENTICATED = 14, 16

#: etcd states these with the code of an invalid argument.
_NO_LONGER_VALID = ("user name is empty", "revision of auth store is old")


def encode(text: bytes) -> str:
    """Return *text* as base64."""
    return b64encode(text).decode("ascii")


def key(folder: str, worker_id: str) -> str:
    """Return the key of a worker's record, as base64."""
    return encode(f"{folder}/{worker_id}".encode())


def below(folder: str) -> dict[str, str]:
    """Return the range of all keys below *folder*."""
    return {"key": encode(f"{folder}/".encode()), "range_end": encode(f"{folder}0".encode())}


def whole_seconds(lease: float) -> int:
    """Return the seconds of a lease: etcd has whole ones."""
    return ceil(lease)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value."""

    worker_id: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A record that was written, or removed if *text* is None."""

    worker_id: str
    text: bytes | None


def changes(result: Message) -> Iterator[Change]:
    """Return the changes in the result of a watch."""
    for event in result.get("events", ()):
        (entry,) = records([event["kv"]])
        removed = event.get("type") == "DELETE"
        yield Change(entry.worker_id, None if removed else entry.text)


def records(entries: list[Message]) -> Iterator[Entry]:
    """Return the keys and values of a range."""
    for entry in entries:
        worker_id = b64decode(entry["key"]).rpartition(b"/")[2].decode(errors="replace")
        yield Entry(worker_id, b64decode(entry.get("value", "")))


def revision(answer: Message) -> int:
    """Return the revision of the store in *answer*."""
    return int(answer["header"]["revision"])


class Refused(EngineError):
    """An answer is an error; the message is that of etcd."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(f"etcd: {text}")
        self.code = code

    @property
    def is_about_credentials(self) -> bool:
        """Whether it may be done after a new authentication."""
        return self.code == UNAUTHENTICATED or any(it in str(self) for it in _NO_LONGER_VALID)

    @property
    def is_about_a_lost_lease(self) -> bool:
        """Whether the lease is no longer there."""
        return "requested lease not found" in str(self)


def change_result(message: Message) -> Message:
    """Return the result in a message of a watch; raises `EngineError` if the watch has ended."""
    result: Message = message.get("result", {})
    if result.get("canceled"):
        reason = result.get("cancel_reason") or f"compacted to {result.get('compact_revision')}"
        raise EngineError(f"etcd: the watch has ended: {reason}")
    return result


def read(text: bytes) -> Message:
    """Return the object in *text*; raises `Refused` for an error, and for what is no object."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(f"an answer that is no JSON: {text[:80]!r}", 0) from None
    if not isinstance(message, dict):
        raise Refused(f"an answer that is no object: {text[:80]!r}", 0)
    error = message.get("error")
    if isinstance(error, dict):  # in a stream
        raise Refused(str(error.get("message")), int(error.get("grpc_code", 0)))
    if error is not None:
        raise Refused(str(error), int(message.get("code", 0)))
    return message
