"""The whole service: drain, stop and abort: server/service.py."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import inf

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout

from batcher.stats import State as Batching
from server.lifecycle import State
from server.service import IDLE_GRACE_SECONDS
from server.settings.table import Settings
from server.withdrawal import ANNOUNCED_DRAIN_SECONDS, MAX_ANNOUNCER_STOP_SECONDS
from tests.fakes.http import Client, request
from tests.fakes.server import Log
from tests.fakes.service import BacklogPort, ServiceHarness
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
POST = request(body=IMAGE)


pytestmark = pytest.mark.usefixtures("log", "surroundings")


# --- stop


def test_an_idle_server_stops_after_the_grace_period(harness: ServiceHarness, log: Log) -> None:
    """It frees its threads, its ports, its timers and the device."""
    harness.started()
    idle = harness.connect()
    assert harness.stop() == [None]
    assert harness.service.lifecycle.state is State.STOPPED
    assert not idle.is_open()
    assert [port.stopped for port in harness.reactor.ports] == [True]
    assert (harness.threads.running, harness.runner.closed, harness.runs_after_close) == ([], 1, 0)
    assert not harness.pool.alive()
    assert harness.reactor.getDelayedCalls() == []
    assert log.lines()[-2:] == ["draining", "stopped; every accepted request was answered"]


def test_a_second_stop_waits_for_the_first(harness: ServiceHarness) -> None:
    """The parent of a service may stop it twice."""
    harness.started()
    first = harness.service.stopService()
    assert harness.service.stopService() is first
    harness.wait(0.25)
    assert first.called


def test_while_it_drains_it_answers_the_accepted_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half read, decoded or queued; each answer closes its connection."""
    harness = ServiceHarness(monkeypatch, Settings(default_timeout=inf)).started()
    half, waiting, idle, late = (harness.connect() for _ in range(4))
    half.send(POST[:-100])
    waiting.send(POST)
    fired: list[object] = []
    harness.service.stopService().addBoth(fired.append)
    harness.turn(model=False)
    assert harness.reactor.ports[0].stopped
    late.send(request("GET", "/readyz"))
    harness.turn(model=False)
    assert late.answer.status == 503
    assert late.answer.json() == {"ready": False, "state": "draining"}
    assert late.answer.headers["connection"] == "close"
    harness.wait(0.125, model=False)
    assert idle.is_open()
    harness.wait(0.125, model=False)
    assert not idle.is_open()
    assert half.is_open()
    half.send(POST[-100:])
    harness.wait(8.0, model=False)
    assert half.is_open()
    assert fired == []
    harness.turn()
    for client in (half, waiting):
        assert client.answer.status == 200
        assert client.answer.headers["connection"] == "close"
        assert not client.is_open()
    assert fired == [None]
    assert harness.runs_after_close == 0


def test_a_keep_alive_connection_stays_open_for_a_request_in_transit(
    harness: ServiceHarness,
) -> None:
    """For the grace period."""
    client = harness.started().connect()
    client.send(POST)
    harness.turn()
    harness.service.stopService()
    harness.wait(0.125)
    client.send(POST)
    harness.wait(0.25)
    assert client.statuses == [200, 200]
    assert client.answers[1].headers["connection"] == "close"


def test_an_unfinished_request_delays_the_stop_up_to_the_client_timeout(
    harness: ServiceHarness,
) -> None:
    """Then it gets a 408."""
    client = harness.started().connect()
    client.send(POST[:-100])
    fired = harness.stop()
    assert fired == []
    harness.wait(Settings().client_timeout)
    assert client.answer.status == 408
    assert fired == [None]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(drain_delay=5.0),
        Settings(announce="zk://a"),
        Settings(announce="zk://a", drain_delay=5.0),
    ],
    ids=["set", "by default if it was registered", "set and registered"],
)
def test_during_the_drain_delay_new_connections_are_served(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Load balancers, and clients that have the address already, need time to notice the stop."""
    delay = settings.drain_delay or ANNOUNCED_DRAIN_SECONDS
    harness = ServiceHarness(monkeypatch, settings, withdraw=lambda: succeed(None)).started()
    fired = harness.stop()
    harness.wait(delay - 1.0)
    assert harness.readyz() == (503, {"ready": False, "state": "draining"})
    client = harness.connect()
    client.send(POST)
    harness.turn()
    assert client.answer.status == 200
    assert client.answer.headers["connection"] == "close"
    stopped = [harness.reactor.ports[0].stopped]
    harness.wait(0.75)
    stopped.append(harness.reactor.ports[0].stopped)
    assert stopped == [False, True]
    assert fired == []
    harness.wait(0.25)
    assert fired == [None]


def test_connections_in_the_backlog_are_served(harness: ServiceHarness) -> None:
    """Closing the port would reset them."""
    harness.reactor.port_kind = BacklogPort
    harness.started()
    (port,) = harness.reactor.ports
    assert isinstance(port, BacklogPort)
    clients: list[Client] = []
    port.backlog = [lambda: clients.append(harness.connect())] * 5
    fired: list[object] = []
    harness.service.stopService().addBoth(fired.append)
    harness.turn()
    assert port.stopped
    assert len(clients) == 5
    for client in clients:
        client.send(POST)
    harness.wait(0.25)
    assert [client.statuses for client in clients] == [[200]] * 5
    assert fired == [None]


def test_connections_in_the_backlog_are_left_to_a_successor(harness: ServiceHarness) -> None:
    """It accepts from the same socket; without `--drain-delay`, since no address changes."""
    harness.service.settings = replace(harness.service.settings, drain_delay=30.0)
    harness.reactor.port_kind = BacklogPort
    harness.started()
    (port,) = harness.reactor.ports
    assert isinstance(port, BacklogPort)
    port.backlog = [harness.connect]
    harness.service._ports.has_successor = True
    assert harness.stop() == [None]
    assert port.stopped
    assert len(port.backlog) == 1


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_server_that_is_still_starting_stops_too(
    steps: int, harness: ServiceHarness, log: Log
) -> None:
    """When its threads have ended their calls; it does not fail, and never becomes ready."""
    harness.start()
    for _ in range(steps):
        harness.threads.step()
        harness.reactor.from_threads.drain()
    fired = harness.stop(model=False)
    assert fired == []
    harness.turn()
    assert fired == [None]
    assert harness.failures == []
    assert (harness.threads.running, harness.runner.closed) == ([], 1)
    assert harness.runs_after_close == 0
    assert harness.service.lifecycle.state is State.STOPPED
    assert "pets/7 is ready" not in " ".join(log.lines())


# --- the step before draining


class Registry:
    """A registry that answers a withdrawal when the test fires `answer`."""

    def __init__(self) -> None:
        self.withdrawals = 0
        self.answer: Deferred[None] = Deferred()

    def withdraw(self) -> Deferred[None]:
        """Count the call, and return `answer`."""
        self.withdrawals += 1
        return self.answer


def served(harness: ServiceHarness) -> tuple[int, str | None]:
    """Return the status of an answer and its Connection header, on a new connection."""
    client = harness.connect()
    client.send(POST)
    harness.turn()
    return client.answer.status, client.answer.headers.get("connection")


def test_a_server_is_withdrawn_before_it_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the registry has answered, other servers may still send requests to it."""
    registry = Registry()
    harness = ServiceHarness(monkeypatch, withdraw=registry.withdraw).started()
    fired = harness.stop()
    assert (registry.withdrawals, fired) == (1, [])
    assert harness.readyz()[0] == 200
    assert served(harness) == (200, None)
    registry.answer.callback(None)
    harness.turn()
    assert harness.service.lifecycle.state is State.DRAINING
    harness.wait(IDLE_GRACE_SECONDS)
    assert (registry.withdrawals, fired) == (1, [None])


@pytest.mark.parametrize("error", [None, ConnectionError("the registry is gone"), CancelledError()])
def test_a_registry_that_fails_does_not_keep_the_server_running(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Whether it never answers or answers with an error; the error is logged."""
    registry = Registry()
    harness = ServiceHarness(monkeypatch, withdraw=registry.withdraw).started()
    fired = harness.stop()
    if error is None:
        harness.wait(MAX_ANNOUNCER_STOP_SECONDS)
    else:
        registry.answer.errback(error)
        harness.turn()
    assert harness.service.lifecycle.state is State.DRAINING
    harness.wait(IDLE_GRACE_SECONDS)
    assert fired == [None]
    assert harness.threads.running == []
    kind = DeferredTimeout if error is None else type(error)
    assert "not withdrawn from its registry" in log.flush(kind)[0]


def test_a_server_that_never_was_ready_is_not_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not announced."""
    registry = Registry()
    harness = ServiceHarness(monkeypatch, withdraw=registry.withdraw)
    harness.start()
    fired = harness.stop()
    assert (registry.withdrawals, fired) == (0, [None])


# --- abort


def test_an_abort_drops_the_requests_that_are_not_answered(
    harness: ServiceHarness, log: Log
) -> None:
    """Whether a client or a run hangs."""
    harness.started()
    half, waiting = harness.connect(), harness.connect()
    half.send(POST[:-100])
    waiting.send(POST)
    fired = harness.stop(model=False)
    assert fired == []
    harness.service.abort()
    harness.turn(model=False)
    assert fired == [None]
    assert half.transport.aborted
    assert waiting.transport.aborted
    assert harness.service.models.any().model.batcher.stats().state is Batching.STOPPED
    assert harness.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"
    assert harness.reactor.getDelayedCalls() == []
    harness.turn()  # the hanging thread ends later


def end_when_cancelled(ending: Deferred[None]) -> None:
    """End as a call that reports its cancellation as an answer."""
    ending.callback(None)


async def go_on_when_cancelled() -> None:
    """Wait for a second answer after the first wait was cancelled."""
    with suppress(CancelledError):
        await Deferred[None]()
    await Deferred[None]()


WITHDRAWALS: dict[str, Callable[[], Deferred[None]]] = {
    "the registry": Deferred,
    "the registry, whose call ends": lambda: Deferred(end_when_cancelled),
    "the registry, whose call goes on": lambda: ensureDeferred(go_on_when_cancelled()),
}


@pytest.mark.parametrize("moment", ["starting", "loading", *WITHDRAWALS, "the drain delay"])
def test_an_abort_waits_for_nothing(moment: str, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """A load may take minutes, a run may never end, and a registry may not answer."""
    withdraw = WITHDRAWALS.get(moment, lambda: succeed(None))
    settings = Settings(drain_delay=60.0) if moment == "the drain delay" else None
    harness = ServiceHarness(monkeypatch, settings, withdraw=withdraw)
    harness.start()
    if moment.startswith("the"):
        harness.turn()
    elif moment == "loading":
        harness.threads.step()
        harness.reactor.from_threads.drain()
    fired = harness.stop(model=False)
    assert fired == []
    harness.service.abort()
    harness.turn(model=False)
    assert fired == [None]
    assert harness.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"
    assert harness.failures == []
    harness.turn()


def test_an_abort_before_the_stop_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of a supervisor may arrive before the signal."""
    harness = ServiceHarness(monkeypatch, withdraw=Deferred).started()
    harness.service.abort()
    fired = harness.stop(model=False)
    assert (fired, harness.service.lifecycle.state) == ([None], State.STOPPED)


def test_an_abort_after_the_stop_changes_nothing(harness: ServiceHarness) -> None:
    """The second signal may arrive late."""
    harness.started()
    assert harness.stop() == [None]
    harness.service.abort()
    assert harness.service.lifecycle.state is State.STOPPED
