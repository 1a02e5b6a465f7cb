"""A second signal ends a draining server at once: server/process/signals.py."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred

from model.errors import ModelError
from server.lifecycle import State
from server.process.signals import (
    end_at_once_on_second_signal,
    reload_on_hangup,
    stop_on_first_signal,
)
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness

Handlers = dict[signal.Signals, Callable[..., object]]


pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    """Record the handler of each signal."""
    noted: Handlers = {}
    # Not on the signal module itself: the test runner may set handlers too.
    fake = SimpleNamespace(
        signal=noted.__setitem__,
        SIGTERM=signal.SIGTERM,
        SIGINT=signal.SIGINT,
        SIG_IGN=signal.SIG_IGN,
    )
    monkeypatch.setattr("server.process.signals.signal", fake)
    return noted


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record how the process would have ended."""
    noted: list[object] = []
    monkeypatch.setattr(os, "_exit", noted.append)
    return noted


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a service with its own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return ServiceHarness(monkeypatch)


def test_the_reactor_handles_the_first_signal(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handlers for the second work from the stop on: a registry may not answer for seconds."""
    harness = ServiceHarness(monkeypatch, withdraw=Deferred).started()
    end_at_once_on_second_signal(harness.service, harness.reactor)
    assert handlers == {}
    fired: list[object] = []
    harness.service.stopService().addBoth(fired.append)
    assert set(handlers) == {signal.SIGTERM, signal.SIGINT}
    assert fired == []
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    harness.turn()
    assert (fired, harness.service.lifecycle.state) == ([None], State.STOPPED)


LINE = "stopping; a second signal (Ctrl-C) stops the server at once and drops requests"


@pytest.mark.parametrize("moment", ["starting", "ready", "the start has failed"])
@pytest.mark.usefixtures("handlers")
def test_the_first_signal_is_logged_at_once(moment: str, harness: ServiceHarness, log: Log) -> None:
    """Also while the model loads, which has to end first; not after a failed start."""
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
    """After the reactor has stopped and after the clean-up, without waiting for threads."""
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
    assert client.is_open()  # a handler may interrupt any code, so it only schedules a call
    harness.turn()
    assert client.transport.aborted
    assert fired == [None]
    assert ends == []
    for function, args, kwargs in harness.reactor.triggers["after"]["shutdown"]:
        function(*args, **kwargs)
    assert ends == ["cleaned up", 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_once_however_many_signals_arrive(
    number: signal.Signals, harness: ServiceHarness, handlers: Handlers
) -> None:
    """The next ones are ignored from the first on: no turn of the reactor is in between."""
    stop_on_first_signal(harness.service, harness.reactor)
    for call, args, kwargs in harness.reactor.whenRunningHooks:
        call(*args, **kwargs)
    harness.started()
    handlers[number](number, None)
    later: list[object] = [handlers[it] for it in (signal.SIGTERM, signal.SIGINT)]
    assert later == [signal.SIG_IGN] * 2


HANGUPS = [
    # (a terminal at the start, afterwards) -> what a SIGHUP does
    ((False, False), ["reload"]),
    ((True, True), ["reload"]),
    ((True, False), ["stop"]),
]


@pytest.mark.parametrize(("terminal", "does"), HANGUPS)
def test_a_hangup_reloads_unless_the_terminal_is_closed(
    terminal: tuple[bool, bool], does: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload is called on the reactor thread."""
    done: list[str] = []
    noted: list[Callable[..., object]] = []
    calls: list[Callable[[], object]] = []
    monkeypatch.setattr(signal, "signal", lambda _, handler: noted.append(handler))
    states = [*terminal]
    monkeypatch.setattr(os, "isatty", lambda _: states.pop(0) if states else False)
    reactor = SimpleNamespace(callFromThread=calls.append, stop=lambda: done.append("stop"))
    reload_on_hangup(lambda: done.append("reload"), reactor)
    noted[0](signal.SIGHUP, None)
    assert done == []
    calls[0]()
    assert done == does
