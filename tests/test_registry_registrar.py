"""The calls of a worker to registry processes: server/discovery/engines/registry.py."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.registry import RegistryRegistrar
from server.discovery.worker_record import ModelLoad, WorkerRecord
from tests.fakes.client_reactor import ClientReactor, Connection
from tests.fakes.server import Log
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")

RECORD = WorkerRecord("a-1", "10.0.0.1", 8000, {"m": ModelLoad(0.010, 0.002, ("1",))})


class Registered:
    """A registrar for the hosts of a URL, and the outcomes of its calls."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.reactor = ClientReactor()
        self.registrar = RegistryRegistrar(parse_engine_url(url), self.reactor, lambda: token)

    def put(self) -> list[object]:
        """Write the record, and return the outcome when there is one."""
        return self._begun(self.registrar.put(RECORD))

    def withdraw(self) -> list[object]:
        """Remove the record, and return the outcome when there is one."""
        return self._begun(ensureDeferred(self.registrar.withdraw()))

    def _begun(self, call: Deferred[None]) -> list[object]:
        fired = outcomes(call)
        self.reactor.advance(0.5)  # Twisted reports a refused connection by a timer
        return fired

    def close(self) -> None:
        """Close the registrar; no connection and no timer is left."""
        assert self._begun(ensureDeferred(self.registrar.close())) == [None]
        assert not any(it.is_open for it in self.reactor.connections)
        assert self.reactor.getDelayedCalls() == []

    def connected(self, host: str) -> Connection:
        """Return the last connection to *host*."""
        return [it for it in self.reactor.connections if it.host == host][-1]


def test_a_record_is_written_and_removed_on_one_connection() -> None:
    """With its lease; the connection is kept between two calls."""
    registered = Registered("registry://r:5/in?lease=2.5", "secret")
    fired = registered.put()
    (connection,) = registered.reactor.connections
    assert (connection.host, connection.port) == ("r", 5)
    (request,) = connection.requests()
    head, _, body = request.partition("\r\n\r\n")
    lines = head.lower().splitlines()
    assert lines[0] == "put /in/workers/a-1 http/1.1"
    assert {
        "host: r:5",
        "content-type: application/json",
        "x-lease-seconds: 2.5",
        "authorization: bearer secret",
    } <= set(lines)
    assert body.encode() == RECORD.to_json()
    assert fired == []
    connection.answer(204)
    assert fired == [None]
    removed = registered.withdraw()
    (request,) = connection.requests()
    assert request.startswith("DELETE /in/workers/a-1 HTTP/1.1")
    connection.answer(204)
    assert removed == [None]
    assert registered.reactor.connections == [connection]
    registered.close()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, '{"error": "expected a token", "status": 401}', "expected a token"),
        (403, "10.0.0.1 is not\n trusted", "10.0.0.1 is not trusted"),
        (400, "[" * 1000, "[" * 200),
        (500, "", "no reason is given"),
        (302, "", "no reason is given"),
    ],
)
def test_a_refusal_is_an_error_with_the_reason(status: int, body: str, reason: str) -> None:
    """In one line; the next call is made all the same."""
    registered = Registered("registry://r")
    for _ in range(2):
        fired = registered.put()
        (connection,) = registered.reactor.connections
        assert "authorization" not in connection.requests()[0].lower()
        connection.answer(status, body)
        assert [str(it) for it in fired] == [f"r:12480 answers {status}: {reason}"]
        assert isinstance(fired[0], EngineError)
    registered.close()


def test_a_registry_that_cannot_be_reached_is_an_error_in_one_line() -> None:
    """Refused, without a connection or an answer in time, or closed before it."""
    registered = Registered("registry://r")
    registered.reactor.refusing = {"r"}
    assert [str(it) for it in registered.put()] == ["r:12480: connection refused"]
    registered.reactor.refusing = set()
    for silent in ({"r"}, set[str]()):
        registered.reactor.silent = silent
        fired = registered.put()
        registered.reactor.advance(CALL_TIMEOUT)
        assert [str(it) for it in fired] == ["r:12480: no answer within 3 s"]
        assert isinstance(fired[0], EngineError)
    assert not registered.connected("r").is_open
    fired = registered.put()
    registered.connected("r").answer_in_part()
    registered.reactor.advance(CALL_TIMEOUT)
    assert [str(it) for it in fired] == ["r:12480: no answer within 3 s"]
    assert not registered.connected("r").is_open
    fired = registered.put()
    registered.connected("r").lose()
    registered.reactor.advance(0)
    assert [str(it) for it in fired] == ["r:12480: Connection was closed cleanly"]
    registered.close()


def test_the_record_is_written_to_each_of_several_registries(log: Log) -> None:
    """One that takes it is enough; the log states which one does not, and when it does again."""
    registered = Registered("registry://a,b")
    registered.reactor.refusing = {"b"}
    fired = registered.put()
    registered.connected("a").answer(204)
    assert fired == [None]
    registered.reactor.refusing = set()
    assert registered.put() == []
    registered.connected("b").answer(204)
    assert log.lines() == [
        "a registry does not take the record: b:12480: connection refused",
        "the registry b:12480 takes the record again",
    ]
    registered.connected("a").answer(204)
    removed = registered.withdraw()
    for host in "ab":
        assert removed == []
        assert registered.connected(host).requests()[-1].startswith("DELETE /workers/a-1 ")
        registered.connected(host).answer(204)
    assert removed == [None]
    registered.close()


def test_a_registry_that_hangs_does_not_delay_the_others() -> None:
    """It has one call at a time, which ends by its timeout, or before the record is removed."""
    registered = Registered("registry://a,b")
    for _ in range(3):
        fired = registered.put()
        registered.connected("a").answer(204)
        assert fired == [None]
    assert len(registered.connected("b").requests()) == 1
    registered.reactor.advance(CALL_TIMEOUT)
    registered.put()
    assert not registered.reactor.connections[1].is_open
    assert len(registered.connected("b").requests()) == 1
    removed = registered.withdraw()
    assert sum(it.is_open for it in registered.reactor.connections if it.host == "b") == 1
    for host in "ab":
        registered.connected(host).answer(204)
    assert removed == [None]
    registered.close()


def test_a_record_cannot_be_written_while_all_registries_hang() -> None:
    """The call fails at once; the former one ends by its timeout."""
    registered = Registered("registry://a")
    first, second = registered.put(), registered.put()
    assert (first, list(map(str, second))) == ([], ["the last call has not ended"])
    assert isinstance(second[0], EngineError)
    registered.reactor.advance(CALL_TIMEOUT)
    assert [str(it) for it in first] == ["a:12480: no answer within 3 s"]
    registered.close()


def test_a_removal_outlives_the_write_that_it_ends() -> None:
    """The end of the write, which may come later, leaves the removal to be ended by a stop."""
    registered = Registered("registry://a")
    written = registered.put()
    removed = registered.withdraw()
    assert kinds(written) == [CancelledError]
    assert removed == []
    registered.close()
    assert kinds(removed) == [CancelledError]


def test_if_no_registry_takes_the_record_the_call_fails() -> None:
    """With the reason of the first."""
    registered = Registered("registry://a,b")
    registered.reactor.refusing = {"a", "b"}
    assert [str(it) for it in registered.put()] == ["a:12480: connection refused"]
    assert [str(it) for it in registered.withdraw()] == ["a:12480: connection refused"]
    registered.close()


def test_without_a_record_nothing_is_removed() -> None:
    """No registry has one."""
    registered = Registered("registry://a")
    assert registered.withdraw() == [None]
    assert registered.reactor.connections == []
    registered.close()
