"""The messages of etcd's JSON gateway: server/discovery/engines/etcd_messages.py."""

from base64 import b64decode

import pytest

from server.discovery.engine import EngineError
from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.etcd_messages import (
    Change,
    Entry,
    Message,
    Refused,
    below,
    change_result,
    changes,
    key,
    read,
    records,
    whole_seconds,
)
from server.discovery.engines.records import folder_of, read_record
from server.discovery.worker_record import WorkerRecord
from tests.fakes.server import Log

FOLDER = "tf/workers"


def test_a_range_has_the_keys_of_its_folder_alone() -> None:
    """Not those of a folder whose name begins equally."""
    first, end = (b64decode(it) for it in below(FOLDER).values())
    assert first < b64decode(key(FOLDER, "a")) < b64decode(key(FOLDER, "z" * 128)) < end
    assert not first < b64decode(key("tf/workers2", "a")) < end
    assert not first < b64decode(key("tf/worker", "a")) < end


@pytest.mark.parametrize(
    ("url", "folder"), [("etcd://h/x/y", "x/y/workers"), ("zk://h", "tensorferry/workers")]
)
def test_workers_are_below_the_path_of_the_url(url: str, folder: str) -> None:
    """Or below a path of our own, where a registry is shared with other programs."""
    assert folder_of(parse_engine_url(url)) == folder


def test_entries_and_changes_name_the_worker() -> None:
    """A key that was removed has no value."""
    name = key(FOLDER, "a-1")
    assert list(records([{"key": name, "value": "e30="}])) == [Entry("a-1", b"{}")]
    events = [{"kv": {"key": name, "value": "e30="}}, {"type": "DELETE", "kv": {"key": name}}]
    assert list(changes({"events": events})) == [Change("a-1", b"{}"), Change("a-1", None)]
    assert list(changes({"created": True})) == []


@pytest.mark.parametrize(("lease", "seconds"), [(1.0, 1), (2.1, 3), (10.0, 10)])
def test_a_lease_is_not_shorter_than_the_one_in_the_url(lease: float, seconds: int) -> None:
    """Etcd has whole seconds."""
    assert whole_seconds(lease) == seconds


REFUSALS = {
    b'{"error": "etcdserver: requested lease not found", "code": 5}': (False, True),
    b'{"error": "etcdserver: invalid auth token", "code": 16}': (True, False),
    b'{"error": "etcdserver: user name is empty", "code": 3}': (True, False),
    b'{"error": {"grpc_code": 16, "message": "etcdserver: invalid auth token"}}': (True, False),
    b"<html>": (False, False),
    b"[]": (False, False),
}


@pytest.mark.parametrize(("text", "kinds"), REFUSALS.items(), ids=str)
def test_an_error_is_a_refusal_of_its_kind(text: bytes, kinds: tuple[bool, bool]) -> None:
    """About credentials, about a lease, or another one."""
    with pytest.raises(Refused, match="etcd: ") as refused:
        read(text)
    found = (refused.value.is_about_credentials, refused.value.is_about_a_lost_lease)
    assert found == kinds


ENDS: dict[str, Message] = {
    "compacted to 7": {"canceled": True, "compact_revision": "7"},
    "permission denied": {"canceled": True, "cancel_reason": "permission denied"},
}


@pytest.mark.parametrize(("reason", "result"), ENDS.items(), ids=str)
def test_a_watch_that_etcd_ends_is_an_error(reason: str, result: Message) -> None:
    """Everything is read anew afterwards."""
    with pytest.raises(EngineError, match=f"etcd: the watch has ended: {reason}"):
        change_result({"result": result})


def test_what_is_no_record_of_its_key_is_left_out(log: Log) -> None:
    """With a line in the log."""
    record = WorkerRecord("a-1", "h", 1)
    assert read_record("a-1", record.to_json()) == record
    assert read_record("b", record.to_json()) is None
    assert read_record("a-1", b"{}") is None
    assert [line.partition(": ")[2][:20] for line in log.lines()] == [
        "it has the id 'a-1'",
        "id: expected up to 1",
    ]
