"""In which order answers of ZooKeeper may arrive: server/discovery/engines/zookeeper.py."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kazoo.exceptions import NoNodeError
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.zookeeper import ZooKeeperWatch
from server.discovery.worker_record import WorkerRecord
from tests.fakes.server import Log

OLD, NEW = WorkerRecord("a", "h", 1), WorkerRecord("a", "h", 2)
STAT = SimpleNamespace()


class FakeSession:
    """Takes calls, which the test answers one after the other."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Deferred[Any]]] = []
        self.watches: dict[str, Callable[[], object]] = {}

    def call(self, name: str, _path: str, watch: Callable[[], object] | None = None) -> Any:
        """Return a Deferred that waits for `answer`."""
        answer: Deferred[Any] = Deferred()
        self.calls.append((name, answer))
        if watch is not None:
            self.watches[name] = watch
        return answer

    def watcher(self, changed: Callable[[], object]) -> Callable[[], object]:
        """Return *changed*, which the test calls itself."""
        return changed

    def answer(self, name: str, result: object) -> None:
        """Answer the oldest call, which is *name*."""
        called, answer = self.calls.pop(0)
        assert called == name
        if isinstance(result, Exception):
            answer.errback(result)
        else:
            answer.callback(result)


def watch_of(session: FakeSession) -> ZooKeeperWatch:
    """Return a watch that has read the record `OLD`."""
    watch = ZooKeeperWatch(parse_engine_url("zk://h"), Clock())
    watch._session = session  # type: ignore[assignment]  # a fake
    watch._connection_changed("")
    session.answer("ensure_path", None)
    session.answer("get_children", ["a"])
    session.answer("get", (OLD.to_json(), STAT))
    assert dict(watch.members.workers) == {"a": OLD}
    return watch


#: A node is removed and made anew; the new one is there from the second answer on, or from the
#: first.
ANSWERS: dict[str, list[tuple[str, object]]] = {
    "get first": [("get", NoNodeError()), ("get_children", ["a"])],
    "get second": [("get_children", ["a"]), ("get", (NEW.to_json(), STAT))],
    "list without it": [("get_children", []), ("get", (NEW.to_json(), STAT))],
}


def test_a_record_that_cannot_be_read_is_left_out(log: Log) -> None:
    """The other ones are read all the same, and nothing is read again."""
    session = FakeSession()
    watch = watch_of(session)
    deep = b'{"id": "b", "host": "h", "port": 1, "models": %b}' % (b"[" * 1000 + b"]" * 1000)
    session.watches["get_children"]()
    session.answer("get_children", ["a", "b"])
    session.answer("get", (deep, STAT))
    assert (watch.members.away, dict(watch.members.workers)) == ("", {"a": OLD})
    assert session.calls == []
    assert len(log.lines()) == 1


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_a_node_that_is_made_anew_is_read_again(answers: list[tuple[str, object]]) -> None:
    """Also when the list of nodes does not change; afterwards one read follows each change."""
    session = FakeSession()
    watch = watch_of(session)
    for name, _ in answers:
        session.watches[name]()
    for name, result in answers:
        session.answer(name, result)
    while session.calls:
        session.answer("get", (NEW.to_json(), STAT))
    assert dict(watch.members.workers) == {"a": NEW}
    session.watches["get_children"]()
    session.answer("get_children", ["a"])
    assert session.calls == []
