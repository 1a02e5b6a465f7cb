"""A whole server that drains, stops or is cut short: server/service.py."""

from dataclasses import replace
from math import inf

import pytest

from batcher.stats import State as Batching
from server.lifecycle import State
from server.settings.table import Settings
from tests.fakes.http import Client, request
from tests.fakes.server import Log
from tests.fakes.service import BacklogPort, House
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
POST = request(body=IMAGE)


pytestmark = pytest.mark.usefixtures("log", "surroundings")


# --- stop


def test_a_server_at_rest_stops_in_a_moment(house: House, log: Log) -> None:
    """Everything that it had is given back."""
    house.started()
    idle = house.connect()
    assert house.stop() == [None]
    assert house.service.lifecycle.state is State.STOPPED
    assert not idle.is_open()
    assert [port.stopped for port in house.reactor.ports] == [True]
    assert (house.threads.running, house.runner.closed, house.runs_after_close) == ([], 1, 0)
    assert not house.pool.alive()
    assert house.reactor.getDelayedCalls() == []
    assert log.lines()[-2:] == ["draining", "stopped; every accepted request was answered"]


def test_a_second_stop_waits_for_the_first(house: House) -> None:
    """A service's parent may ask again."""
    house.started()
    first = house.service.stopService()
    assert house.service.stopService() is first
    house.wait(0.25)
    assert first.called


def test_while_it_drains_it_serves_what_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half read, decoded or queued; each answer says that it is the last on its connection."""
    house = House(monkeypatch, Settings(default_timeout=inf)).started()
    half, waiting, idle, late = (house.connect() for _ in range(4))
    half.send(POST[:-100])
    waiting.send(POST)
    fired: list[object] = []
    house.service.stopService().addBoth(fired.append)
    house.turn(model=False)
    assert house.reactor.ports[0].stopped
    late.send(request("GET", "/readyz"))
    house.turn(model=False)
    assert late.answer.status == 503
    assert late.answer.json() == {"ready": False, "state": "draining"}
    assert late.answer.headers["connection"] == "close"
    house.wait(0.125, model=False)
    assert idle.is_open()
    house.wait(0.125, model=False)
    assert not idle.is_open()
    assert half.is_open()
    half.send(POST[-100:])
    house.wait(8.0, model=False)
    assert half.is_open()
    assert fired == []
    house.turn()
    for client in (half, waiting):
        assert client.answer.status == 200
        assert client.answer.headers["connection"] == "close"
        assert not client.is_open()
    assert fired == [None]
    assert house.runs_after_close == 0


def test_a_keep_alive_connection_is_not_closed_before_a_request_on_its_way(house: House) -> None:
    """It had a moment to arrive."""
    client = house.started().connect()
    client.send(POST)
    house.turn()
    house.service.stopService()
    house.wait(0.125)
    client.send(POST)
    house.wait(0.25)
    assert client.statuses == [200, 200]
    assert client.answers[1].headers["connection"] == "close"


def test_a_request_that_never_comes_to_its_end_does_not_hold_the_stop(house: House) -> None:
    """Longer than any client may take."""
    client = house.started().connect()
    client.send(POST[:-100])
    fired = house.stop()
    assert fired == []
    house.wait(Settings().client_timeout)
    assert client.answer.status == 408
    assert fired == [None]


def test_a_drain_delay_keeps_the_door_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balancers need time to hear that the server is about to go; new clients are still served."""
    house = House(monkeypatch, replace(Settings(), drain_delay=5.0)).started()
    fired = house.stop()
    house.wait(4.0)
    assert house.readyz() == (503, {"ready": False, "state": "draining"})
    client = house.connect()
    client.send(POST)
    house.turn()
    assert client.answer.status == 200
    assert client.answer.headers["connection"] == "close"
    stopped = [house.reactor.ports[0].stopped]
    house.wait(0.75)
    stopped.append(house.reactor.ports[0].stopped)
    assert stopped == [False, True]
    assert fired == []
    house.wait(0.25)
    assert fired == [None]


def test_connections_that_the_kernel_has_accepted_are_served(house: House) -> None:
    """They would be reset when the port closes."""
    house.reactor.port_kind = BacklogPort
    house.started()
    (port,) = house.reactor.ports
    assert isinstance(port, BacklogPort)
    clients: list[Client] = []
    port.backlog = [lambda: clients.append(house.connect())] * 5
    fired: list[object] = []
    house.service.stopService().addBoth(fired.append)
    house.turn()
    assert port.stopped
    assert len(clients) == 5
    for client in clients:
        client.send(POST)
    house.wait(0.25)
    assert [client.statuses for client in clients] == [[200]] * 5
    assert fired == [None]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_server_that_is_still_starting_stops_too(steps: int, house: House, log: Log) -> None:
    """As soon as its threads can; it has not failed, and never becomes ready."""
    house.start()
    for _ in range(steps):
        house.threads.step()
        house.reactor.from_threads.drain()
    fired = house.stop(model=False)
    assert fired == []
    house.turn()
    assert fired == [None]
    assert house.failures == []
    assert (house.threads.running, house.runner.closed) == ([], 1)
    assert house.runs_after_close == 0
    assert house.service.lifecycle.state is State.STOPPED
    assert "pets/7 is ready" not in " ".join(log.lines())


# --- abort


def test_an_abort_drops_what_is_not_answered(house: House, log: Log) -> None:
    """Whatever hangs: a client, a run."""
    house.started()
    half, waiting = house.connect(), house.connect()
    half.send(POST[:-100])
    waiting.send(POST)
    fired = house.stop(model=False)
    assert fired == []
    house.service.abort()
    house.turn(model=False)
    assert fired == [None]
    assert half.transport.aborted
    assert waiting.transport.aborted
    assert house.service.host.inference is not None
    assert house.service.host.inference.model.batcher.stats().state is Batching.STOPPED
    assert house.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"
    assert house.reactor.getDelayedCalls() == []
    house.turn()  # the thread comes back after all


@pytest.mark.parametrize("steps", [0, 1])
def test_an_abort_does_not_wait_for_a_start(steps: int, house: House, log: Log) -> None:
    """A load may take minutes, and a run may hang for ever."""
    house.start()
    for _ in range(steps):
        house.threads.step()
        house.reactor.from_threads.drain()
    fired = house.stop(model=False)
    assert fired == []
    house.service.abort()
    house.turn(model=False)
    assert fired == [None]
    assert house.service.lifecycle.state is State.STOPPED
    assert log.lines()[-1] == "stopped at once; requests were dropped"
    assert house.failures == []
    house.turn()


def test_an_abort_while_the_door_is_kept_open_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the delay."""
    house = House(monkeypatch, Settings(drain_delay=60.0)).started()
    fired = house.stop()
    house.service.abort()
    house.turn()
    assert fired == [None]


def test_an_abort_after_the_stop_changes_nothing(house: House) -> None:
    """The second signal may come late."""
    house.started()
    assert house.stop() == [None]
    house.service.abort()
    assert house.service.lifecycle.state is State.STOPPED
