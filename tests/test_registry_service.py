"""The registry as a service: server/registry/registry_service.py and worker_log.py."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from server.discovery.engine_url import EngineURL
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord
from server.lifecycle import StartError, State
from server.registry.registry_service import MAX_STOP_SECONDS, RegistryService
from server.registry.settings import RegistrySettings
from server.registry.worker_log import MAX_LINES
from tests.fakes.http import Client, request
from tests.fakes.registry import worker
from tests.fakes.server import Log
from tests.fakes.service import FakeReactor
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log", "surroundings")

SETTINGS = RegistrySettings(engine=("zk://a/b", "etcd://c"), dns_listen=None)


class FakeWatch:
    """A source that the test writes."""

    def __init__(self, url: EngineURL, reactor: Any) -> None:
        self.members = Members(str(url), reactor.seconds)
        self.is_running = False
        self.end: Callable[[], Awaitable[None]] = lambda: succeed(None)

    def start(self) -> None:
        """Begin."""
        self.is_running = True

    def stop(self) -> Awaitable[None]:
        """End."""
        self.is_running = False
        return self.end()


class Running:
    """A registry on a fake reactor."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, settings: RegistrySettings = SETTINGS
    ) -> None:
        monkeypatch.setattr("server.registry.registry_service.MonotonicTime", lambda it: it)
        self.reactor = FakeReactor()
        self.watches: list[FakeWatch] = []
        self.service = RegistryService(settings, self.reactor, watch=self._watch)

    def _watch(self, url: EngineURL, reactor: Any) -> FakeWatch:
        self.watches.append(FakeWatch(url, reactor))
        return self.watches[-1]

    def start(self) -> None:
        """Listen and start."""
        self.service.privilegedStartService()
        self.service.startService()

    def client(self) -> Client:
        """Return a client of the HTTP port."""
        return Client(self.service.site, self.reactor)


def test_the_registry_follows_its_sources_until_it_stops(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """All ports are closed, and no timer is left."""
    running = Running(monkeypatch)
    running.start()
    zookeeper, etcd = running.watches
    assert (zookeeper.is_running, etcd.is_running) == (True, True)
    etcd.members.put(WorkerRecord("e", "192.0.2.9", 1))
    client = running.client()
    client.send(request("GET", "/"))
    assert client.answer.body == b"192.0.2.9:1\n"
    stopping = running.service.stopService()
    running.reactor.advance(0)
    assert outcomes(stopping) == [None]
    assert running.service.stopService() is stopping
    assert (zookeeper.is_running, etcd.is_running) == (False, False)
    assert [port.stopped for port in running.reactor.ports] == [True, True]
    assert not client.transport.connected
    assert not running.reactor.getDelayedCalls()
    assert log.lines()[-1] == "stopped"


@pytest.mark.parametrize(
    "end", [Deferred, lambda: fail(OSError("no thread"))], ids=["hangs", "fails"]
)
def test_a_source_that_does_not_stop_delays_the_end_for_a_while(
    monkeypatch: pytest.MonkeyPatch, log: Log, end: Callable[[], Deferred[None]]
) -> None:
    """An error of a source is logged, and the rest is stopped; two take no longer than one."""
    running = Running(monkeypatch)
    running.start()
    zookeeper, etcd = running.watches
    zookeeper.end = Deferred
    etcd.end = end
    stopping = running.service.stopService()
    running.reactor.advance(MAX_STOP_SECONDS)
    assert outcomes(stopping) == [None]
    assert len(log.flush_errors()) == 2
    assert running.service.lifecycle.state is State.STOPPED


def test_a_request_that_does_not_end_delays_the_end_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then its connection is aborted."""
    running = Running(monkeypatch)
    running.start()
    client = running.client()
    client.send(b"GET / HT")
    stopping = running.service.stopService()
    assert outcomes(stopping) == []
    running.reactor.advance(MAX_STOP_SECONDS)
    running.reactor.advance(0)
    assert outcomes(stopping) == [None]
    assert client.transport.aborted


@pytest.mark.parametrize("held_by", ["a request", "a source"])
def test_an_aborted_stop_waits_for_nothing(
    held_by: str, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """No connection, timer or error is left; what is called at a stop was called once."""
    running = Running(monkeypatch)
    called: list[None] = []
    running.service.on_stop.append(lambda: called.append(None))
    running.start()
    client = running.client()
    if held_by == "a request":
        client.send(b"GET / HT")
    else:
        running.watches[0].end = Deferred
    stopping = running.service.stopService()
    running.reactor.advance(0)
    assert outcomes(stopping) == []
    running.service.abort()
    running.reactor.advance(0)
    assert outcomes(stopping) == [None]
    assert len(called) == 1
    assert not running.reactor.getDelayedCalls()
    assert running.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"


def test_a_port_in_use_is_an_error_and_closes_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of seaport as well as that of HTTP."""
    running = Running(monkeypatch)
    running.reactor.taken.add(12481)
    with pytest.raises(StartError, match=r"tcp:12481.*Address already in use \(--seaport-listen\)"):
        running.service.privilegedStartService()
    assert [port.stopped for port in running.reactor.ports] == [True]


def test_the_log_has_a_line_for_each_worker_that_comes_or_goes(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """With the reason; and one when a source is away, and when it is up to date again."""
    running = Running(monkeypatch, RegistrySettings(engine=("zk://a/b",), dns_listen=None))
    running.start()
    (zookeeper,) = running.watches
    running.reactor.advance(1)
    assert "zk://a:2181/b: not read yet" in log.lines()
    zookeeper.members.put(worker(1))
    zookeeper.members.is_current()
    for number in (2, 3):
        running.service.leases.put(worker(number), lease=2 * number)
    running.reactor.advance(1)
    log.events.clear()
    zookeeper.members.is_away("no answer")
    running.service.leases.remove("w-2")
    for _ in range(6):
        running.reactor.advance(1)
    zookeeper.members.is_current()
    zookeeper.members.remove("w-1")
    running.service.stopService()
    assert log.lines() == [
        "leases: worker w-2 at 127.0.0.1:8002 is gone: it has withdrawn",
        "zk://a:2181/b: away: no answer; its last 1 workers are handed out",
        "leases: worker w-3 at 127.0.0.1:8003 is gone: its lease has ended",
        "zk://a:2181/b: up to date again",
        "zk://a:2181/b: worker w-1 at 127.0.0.1:8001 is gone: it is no longer listed",
        "stopped",
    ]


def test_many_changes_at_once_are_counted(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """At most so many lines in a second."""
    running = Running(monkeypatch)
    running.start()
    log.events.clear()
    for number in range(MAX_LINES + 5):
        running.service.leases.put(worker(number), lease=60)
    running.reactor.advance(1)
    lines = log.lines()
    # Three of them are of sources that are not read yet.
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "+8 more changes of workers"
    running.service.stopService()
