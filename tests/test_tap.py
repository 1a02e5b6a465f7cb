"""What twistd asks for, options and a service: server/process/tap.py."""

import os
import sys
import threading
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from twisted.application.service import IService
from twisted.python import usage

from server.lifecycle import State
from server.process.tap import Options, makeService
from server.service import InferenceService, StartError
from server.settings.table import Settings
from tests.fakes.server import Log
from tests.fakes.service import FakeReactor
from twisted import internet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> FakeReactor:
    """Let twistd have chosen a reactor that is moved by hand."""
    chosen = FakeReactor()
    monkeypatch.setattr(internet, "reactor", chosen)
    return chosen


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    """Return the file that twistd has written its process id to."""
    file = tmp_path / "twistd.pid"
    file.write_text("1")
    return file


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """Take the place of the stream that twistd has not made part of its log."""
    stream = StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)
    return stream


def made(*arguments: str, **twistd: object) -> InferenceService:
    """Return what twistd would start with these *arguments*, and options of its own."""
    options = Options({})
    options.parent = usage.Options()
    options.parent.update(twistd)
    options.parseOptions(arguments)
    service = makeService(options)
    assert IService.providedBy(service)
    assert isinstance(service, InferenceService)
    return service


def test_a_service_that_was_made_has_done_nothing(
    reactor: FakeReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread, no socket, no timer, no TensorFlow: twistd forks before it starts it."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would raise
    before = threading.enumerate()
    service = made("--port", "8080", "--drain-delay", "2")
    assert threading.enumerate() == before
    assert (reactor.ports, reactor.getDelayedCalls(), reactor.triggers) == ([], [], {})
    assert (reactor.readers, reactor.writers) == (set(), set())
    assert service.settings == Settings(port=8080, drain_delay=2.0)
    assert service.lifecycle.state is State.STARTING


def test_a_taken_port_ends_twistd_in_one_line(
    reactor: FakeReactor, pidfile: Path, stderr: StringIO, log: Log
) -> None:
    """On stderr and in the log; twistd itself would print a traceback, and leave its pidfile."""
    reactor.taken.add(8080)
    service = made("--port", "8080", nodaemon=True, pidfile=str(pidfile))
    with pytest.raises(SystemExit) as caught:
        service.privilegedStartService()
    assert caught.value.code == 1
    line = "cannot listen on tcp:8080:interface=127.0.0.1: Address already in use"
    assert stderr.getvalue() == f"{line}\n"
    assert log.errors() == [line]
    log.events.clear()
    assert not pidfile.exists()


def test_a_daemons_parent_tells_of_a_taken_port_itself(
    reactor: FakeReactor, pidfile: Path, stderr: StringIO
) -> None:
    """It waits for the error of its child."""
    reactor.taken.add(8080)
    service = made("--port", "8080", nodaemon=False, pidfile=str(pidfile))
    with pytest.raises(StartError, match="Address already in use"):
        service.privilegedStartService()
    assert stderr.getvalue() == ""


@pytest.mark.parametrize("where", ["somewhere", "nowhere", None])
def test_a_start_that_fails_later_ends_twistd_with_1(
    where: str | None,
    reactor: FakeReactor,
    pidfile: Path,
    stderr: StringIO,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would otherwise end with 0, as if it had been told to."""
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    paths = {"somewhere": str(pidfile), "nowhere": str(pidfile / "no"), None: None}
    service = made(nodaemon=True, pidfile=paths[where])
    service._fail("no such file: x.pb")
    assert stderr.getvalue() == "no such file: x.pb\n"
    assert log.errors() == ["no such file: x.pb"]
    log.events.clear()
    assert pidfile.exists() == (where != "somewhere")
    assert reactor.hasStopped
    assert exits == []
    ((function, args, _),) = reactor.triggers["after"]["shutdown"]
    function(*args)
    assert exits == [1]


def test_a_second_signal_ends_twistd_at_once(
    reactor: FakeReactor, pidfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And takes its pidfile along."""
    handlers: list[Callable[..., object]] = []
    exits: list[int] = []
    fake = SimpleNamespace(signal=lambda _, heard: handlers.append(heard), SIGTERM=15, SIGINT=2)
    monkeypatch.setattr("server.process.signals.signal", fake)
    monkeypatch.setattr(os, "_exit", exits.append)
    service = made(nodaemon=True, pidfile=str(pidfile))
    service.stopService()
    handlers[0]()
    reactor.from_threads.drain()
    assert pidfile.exists()
    ((function, args, _),) = reactor.triggers["after"]["shutdown"]
    function(*args)
    assert exits == [1]
    assert not pidfile.exists()


def test_a_process_without_stderr_can_still_fail(
    reactor: FakeReactor, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may have closed it."""
    monkeypatch.setattr(sys, "__stderr__", None)
    made()._fail("no such file: x.pb")
    assert log.errors() == ["no such file: x.pb"]
    log.events.clear()
    assert reactor.hasStopped


def test_options_that_cannot_be_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not under pages of help."""
    with pytest.raises(SystemExit) as caught:
        Options({}).parseOptions(["--port", "http"])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("twistd tensorferry: ")
    assert err.count("\n") == 1
    assert "--port" in err


@pytest.mark.parametrize(
    ("twistd", "line"),
    [
        (
            {"pidfile": "twistd.pid"},
            "{folder}/twistd.pid: set another path with twistd --pidfile=PATH",
        ),
        ({"pidfile": ""}, None),
        ({"pidfile": None}, None),
        ({"logfile": "-"}, None),
        ({"nodaemon": True}, None),
        ({"nodaemon": False}, "{folder}/twistd.log: set another path with twistd --logfile=PATH"),
        ({"nodaemon": False, "syslog": True}, None),
    ],
)
def test_twistd_is_told_of_a_folder_that_cannot_be_written(
    twistd: dict[str, object],
    line: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the option that names another place; twistd itself would print a traceback."""
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    options = Options({})
    options.parent = usage.Options()
    options.parent.update({"rundir": str(tmp_path), **twistd})
    if line is None:
        options.parseOptions([])
        return
    with pytest.raises(SystemExit) as caught:
        options.parseOptions([])
    assert caught.value.code == 1
    expected = line.format(folder=tmp_path)
    assert capsys.readouterr().err == f"twistd tensorferry: cannot write {expected}\n"


def test_check_config_prints_the_settings_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an error, and without a server."""
    with pytest.raises(SystemExit) as caught:
        Options({}).parseOptions(["--port", "8080", "--check-config"])
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert "8080" in out
    assert err == ""
