"""A second signal ends at once what the first one began: server/signals.py."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.lifecycle import State
from server.signals import end_at_once_on_second_signal
from tests.fakes_house import House
from tests.fakes_http import request

Handlers = dict[signal.Signals, Callable[..., object]]


pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    """Note which signals are to call whom."""
    noted: Handlers = {}
    # Not the module's own function: whoever runs the tests may set handlers as well.
    fake = SimpleNamespace(signal=noted.__setitem__, SIGTERM=signal.SIGTERM, SIGINT=signal.SIGINT)
    monkeypatch.setattr("server.signals.signal", fake)
    return noted


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note how the process would have ended."""
    noted: list[object] = []
    monkeypatch.setattr(os, "_exit", noted.append)
    return noted


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a server that is ready, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return House(monkeypatch).started()


def test_the_first_signal_is_the_reactors(house: House, handlers: Handlers) -> None:
    """It stops the service; only then are signals taken over."""
    end_at_once_on_second_signal(house.service, house.reactor)
    assert handlers == {}
    house.service.stopService()
    assert set(handlers) == {signal.SIGTERM, signal.SIGINT}
    house.wait(0.25)
    assert house.service.lifecycle.state is State.STOPPED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_drops_requests_and_ends_the_process(
    number: signal.Signals, house: House, handlers: Handlers, ends: list[object]
) -> None:
    """Once the reactor has stopped, without waiting for its threads, and after cleaning up."""
    end_at_once_on_second_signal(
        house.service, house.reactor, clean_up=lambda: ends.append("cleaned up")
    )
    client = house.connect()
    client.send(request(body=b"half")[:-2])
    fired: list[object] = []
    house.service.stopService().addBoth(fired.append)
    house.wait(0.25)
    assert client.is_open()
    handlers[number](number, None)
    assert client.is_open()  # a signal's handler may interrupt anything, so it only calls later
    house.turn()
    assert client.transport.aborted
    assert fired == [None]
    assert ends == []
    for function, args, kwargs in house.reactor.triggers["after"]["shutdown"]:
        function(*args, **kwargs)
    assert ends == ["cleaned up", 1]
