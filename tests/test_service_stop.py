"""A whole server that drains, stops or is cut short: server/service.py."""

from dataclasses import replace
from math import inf

import pytest

from batcher.stats import State as Batching
from server.lifecycle import State
from server.settings.table import Settings
from tests.fakes.http import Client, request
from tests.fakes.server import Log
from tests.fakes.service import BacklogPort, ServiceHarness
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
POST = request(body=IMAGE)


pytestmark = pytest.mark.usefixtures("log", "surroundings")


# --- stop


def test_a_server_at_rest_stops_in_a_moment(harness: ServiceHarness, log: Log) -> None:
    """Everything that it had is given back."""
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
    """A service's parent may ask again."""
    harness.started()
    first = harness.service.stopService()
    assert harness.service.stopService() is first
    harness.wait(0.25)
    assert first.called


def test_while_it_drains_it_serves_what_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half read, decoded or queued; each answer says that it is the last on its connection."""
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


def test_a_keep_alive_connection_is_not_closed_before_a_request_on_its_way(
    harness: ServiceHarness,
) -> None:
    """It had a moment to arrive."""
    client = harness.started().connect()
    client.send(POST)
    harness.turn()
    harness.service.stopService()
    harness.wait(0.125)
    client.send(POST)
    harness.wait(0.25)
    assert client.statuses == [200, 200]
    assert client.answers[1].headers["connection"] == "close"


def test_a_request_that_never_comes_to_its_end_does_not_hold_the_stop(
    harness: ServiceHarness,
) -> None:
    """Longer than any client may take."""
    client = harness.started().connect()
    client.send(POST[:-100])
    fired = harness.stop()
    assert fired == []
    harness.wait(Settings().client_timeout)
    assert client.answer.status == 408
    assert fired == [None]


def test_a_drain_delay_keeps_the_door_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balancers need time to hear that the server is about to go; new clients are still served."""
    harness = ServiceHarness(monkeypatch, replace(Settings(), drain_delay=5.0)).started()
    fired = harness.stop()
    harness.wait(4.0)
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


def test_connections_that_the_kernel_has_accepted_are_served(harness: ServiceHarness) -> None:
    """They would be reset when the port closes."""
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


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_server_that_is_still_starting_stops_too(
    steps: int, harness: ServiceHarness, log: Log
) -> None:
    """As soon as its threads can; it has not failed, and never becomes ready."""
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


# --- abort


def test_an_abort_drops_what_is_not_answered(harness: ServiceHarness, log: Log) -> None:
    """Whatever hangs: a client, a run."""
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
    assert harness.service.host.inference is not None
    assert harness.service.host.inference.model.batcher.stats().state is Batching.STOPPED
    assert harness.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"
    assert harness.reactor.getDelayedCalls() == []
    harness.turn()  # the thread comes back after all


@pytest.mark.parametrize("steps", [0, 1])
def test_an_abort_does_not_wait_for_a_start(steps: int, harness: ServiceHarness, log: Log) -> None:
    """A load may take minutes, and a run may hang for ever."""
    harness.start()
    for _ in range(steps):
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


def test_an_abort_while_the_door_is_kept_open_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the delay."""
    harness = ServiceHarness(monkeypatch, Settings(drain_delay=60.0)).started()
    fired = harness.stop()
    harness.service.abort()
    harness.turn()
    assert fired == [None]


def test_an_abort_after_the_stop_changes_nothing(harness: ServiceHarness) -> None:
    """The second signal may come late."""
    harness.started()
    assert harness.stop() == [None]
    harness.service.abort()
    assert harness.service.lifecycle.state is State.STOPPED
