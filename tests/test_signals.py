"""A second signal ends at once what the first one began: server/process/signals.py."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.errors import ModelError
from server.lifecycle import State
from server.process.signals import end_at_once_on_second_signal
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness

Handlers = dict[signal.Signals, Callable[..., object]]


pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    """Note which signals are to call whom."""
    noted: Handlers = {}
    # Not the module's own function: whoever runs the tests may set handlers as well.
    fake = SimpleNamespace(signal=noted.__setitem__, SIGTERM=signal.SIGTERM, SIGINT=signal.SIGINT)
    monkeypatch.setattr("server.process.signals.signal", fake)
    return noted


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note how the process would have ended."""
    noted: list[object] = []
    monkeypatch.setattr(os, "_exit", noted.append)
    return noted


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a server with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return ServiceHarness(monkeypatch)


def test_the_first_signal_is_the_reactors(harness: ServiceHarness, handlers: Handlers) -> None:
    """It stops the service; only then are signals taken over."""
    end_at_once_on_second_signal(harness.started().service, harness.reactor)
    assert handlers == {}
    harness.service.stopService()
    assert set(handlers) == {signal.SIGTERM, signal.SIGINT}
    harness.wait(0.25)
    assert harness.service.lifecycle.state is State.STOPPED


LINE = "stopping; a second signal (Ctrl-C) ends at once"


@pytest.mark.parametrize("moment", ["starting", "ready", "the start has failed"])
@pytest.mark.usefixtures("handlers")
def test_the_first_signal_is_answered_at_once(
    moment: str, harness: ServiceHarness, log: Log
) -> None:
    """In the log, also while the model loads, which has to end first; not for a failed start."""
    end_at_once_on_second_signal(harness.service, harness.reactor)
    if moment == "the start has failed":
        harness.loader.error = ModelError("no such file")
    harness.start()
    if moment != "starting":
        harness.turn()
    harness.service.stopService()
    assert (LINE in log.lines()) == (moment != "the start has failed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_drops_requests_and_ends_the_process(
    number: signal.Signals, harness: ServiceHarness, handlers: Handlers, ends: list[object]
) -> None:
    """Once the reactor has stopped, without waiting for its threads, and after cleaning up."""
    end_at_once_on_second_signal(
        harness.started().service, harness.reactor, clean_up=lambda: ends.append("cleaned up")
    )
    client = harness.connect()
    client.send(request(body=b"half")[:-2])
    fired: list[object] = []
    harness.service.stopService().addBoth(fired.append)
    harness.wait(0.25)
    assert client.is_open()
    handlers[number](number, None)
    assert client.is_open()  # a signal's handler may interrupt anything, so it only calls later
    harness.turn()
    assert client.transport.aborted
    assert fired == [None]
    assert ends == []
    for function, args, kwargs in harness.reactor.triggers["after"]["shutdown"]:
        function(*args, **kwargs)
    assert ends == ["cleaned up", 1]
