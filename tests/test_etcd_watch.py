"""Answers of an etcd that are not those of its API: server/discovery/engines/etcd.py."""

from base64 import b64encode
from collections.abc import Mapping

import orjson
import pytest
from twisted.internet.defer import maybeDeferred

from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.etcd import EtcdWatch
from server.discovery.worker_record import WorkerRecord
from tests.fakes.client_reactor import ClientReactor
from tests.fakes.server import Log

RECORD = WorkerRecord("a", "h", 1)
DEEP = b'{"id": "b", "host": "h", "port": 1, "models": %b}' % (b"[" * 1000 + b"]" * 1000)


def pair(worker_id: str, text: bytes) -> Mapping[str, str]:
    """Return a key and its value as etcd writes them."""
    key = b64encode(f"tensorferry/workers/{worker_id}".encode()).decode()
    return {"key": key, "value": b64encode(text).decode()}


def answer(*pairs: Mapping[str, str]) -> str:
    """Return the answer to a read."""
    return orjson.dumps({"header": {"revision": "5"}, "kvs": pairs}).decode()


class Watched:
    """A watch of an etcd whose answers the test writes."""

    def __init__(self) -> None:
        self.reactor = ClientReactor()
        self.watch = EtcdWatch(parse_engine_url("etcd://e"), self.reactor)
        self.watch.start()

    def answer(self, body: str) -> None:
        """Answer the read of all workers."""
        (request,) = self.reactor.connections[-1].requests()
        assert request.startswith("POST /v3/kv/range ")
        self.reactor.connections[-1].answer(200, body)

    def stop(self) -> None:
        """Stop the watch; no timer is left."""
        maybeDeferred(self.watch.stop)
        self.reactor.advance(0)
        assert self.reactor.getDelayedCalls() == []


UNEXPECTED = {
    "no header": "{}",
    "no number": '{"header": {"revision": "x"}}',
    "bad base64": '{"header": {"revision": "5"}, "kvs": [{"key": "a"}]}',
    "no list": '{"header": {"revision": "5"}, "kvs": 1}',
}


@pytest.mark.parametrize("body", UNEXPECTED.values(), ids=UNEXPECTED)
def test_after_an_unexpected_answer_everything_is_read_again(log: Log, body: str) -> None:
    """The workers stay meanwhile; the source is stated as away, and the error is logged."""
    watched = Watched()
    watched.answer(body)
    assert watched.watch.members.away == "etcd: an answer that could not be read"
    assert [it.splitlines()[0] for it in log.flush_errors()] == [
        "the workers in etcd could not be read"
    ]
    watched.reactor.advance(1)
    watched.answer(answer(pair("a", RECORD.to_json())))
    assert watched.watch.members.away == ""
    assert watched.watch.members.workers == {"a": RECORD}
    watched.stop()


def test_a_record_that_cannot_be_read_is_left_out(log: Log) -> None:
    """With one line in the log, in which its key is printable."""
    watched = Watched()
    watched.answer(answer(pair("a", RECORD.to_json()), pair("b\nc", DEEP)))
    assert watched.watch.members.away == ""
    assert watched.watch.members.workers == {"a": RECORD}
    (line,) = log.lines()
    assert line == (
        "what is stored as the worker 'b\\nc' is left out: models: expected an object, got a list"
    )
    watched.stop()
