"""The options and the service of ``twistd tensorferry``: server/process/tap.py."""

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
from server.service import InferenceService
from server.settings.table import Settings
from tests.fakes.server import Log
from tests.fakes.service import FakeReactor
from twisted import internet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> FakeReactor:
    """Install a fake reactor as the one that twistd has chosen."""
    chosen = FakeReactor()
    monkeypatch.setattr(internet, "reactor", chosen)
    return chosen


@pytest.fixture(autouse=True)
def explanation(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that explain a failed start, which a test may set."""
    lines: list[str] = []
    monkeypatch.setattr("server.process.twistd_service.explain", lambda *_: lines)
    return lines


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    """Return a pidfile as twistd writes it."""
    file = tmp_path / "twistd.pid"
    file.write_text("1")
    return file


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """Replace the real stderr, which twistd does not redirect to its log."""
    stream = StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)
    return stream


def made(*arguments: str, **twistd: object) -> InferenceService:
    """Return the service for these *arguments* and the options *twistd* of twistd itself."""
    options = Options({})
    options.parent = usage.Options()
    options.parent.update(twistd)
    options.parseOptions(arguments)
    service = makeService(options)
    assert IService.providedBy(service)
    assert isinstance(service, InferenceService)
    return service


def test_a_new_service_has_done_nothing(
    reactor: FakeReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread, socket, timer or TensorFlow, because twistd forks before it starts the service."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would raise
    before = threading.enumerate()
    service = made("--port", "8080", "--drain-delay", "2")
    assert threading.enumerate() == before
    assert (reactor.ports, reactor.getDelayedCalls(), reactor.triggers) == ([], [], {})
    assert (reactor.readers, reactor.writers) == (set(), set())
    assert service.settings == Settings(port=8080, drain_delay=2.0)
    assert service.lifecycle.state is State.STARTING


@pytest.mark.parametrize("nodaemon", [True, False])
def test_a_taken_port_ends_twistd_in_one_line(
    nodaemon: bool, reactor: FakeReactor, pidfile: Path, stderr: StringIO, log: Log
) -> None:
    """On stderr and in the log; twistd itself would print a traceback and keep its pidfile."""
    reactor.taken.add(8080)
    service = made("--port", "8080", nodaemon=nodaemon, pidfile=str(pidfile))
    line = "cannot listen on tcp:8080:interface=127.0.0.1: Address already in use"
    with pytest.raises(SystemExit if nodaemon else OSError) as caught:
        service.privilegedStartService()
    if nodaemon:
        assert (getattr(caught.value, "code", None), stderr.getvalue()) == (1, f"{line}\n")
        assert log.errors() == [line]
        log.events.clear()
        assert not pidfile.exists()
    else:  # the child raises the error, for which the parent waits
        assert (str(caught.value), stderr.getvalue()) == (line, "")


@pytest.mark.parametrize("nodaemon", [True, False])
def test_lines_that_explain_a_failed_start_follow_its_reason(
    nodaemon: bool, reactor: FakeReactor, stderr: StringIO, log: Log, explanation: list[str]
) -> None:
    """A daemon has them in its log alone, before its parent prints the reason."""
    explanation.append("listen: process 7 listens\nthere; kill 7")
    reactor.taken.add(8080)
    service = made("--port", "8080", nodaemon=nodaemon)
    with pytest.raises(SystemExit if nodaemon else OSError):
        service.privilegedStartService()
    line = r"listen: process 7 listens\nthere; kill 7"
    assert log.lines()[-1] == line
    assert stderr.getvalue().splitlines()[1:] == [line][: int(nodaemon)]
    log.events.clear()


@pytest.mark.parametrize("where", ["somewhere", "nowhere", None])
def test_a_start_that_fails_later_ends_twistd_with_1(
    where: str | None,
    reactor: FakeReactor,
    pidfile: Path,
    stderr: StringIO,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without this, twistd would end with 0, as after a signal."""
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
    """And removes its pidfile."""
    handlers: list[Callable[..., object]] = []
    exits: list[int] = []
    fake = SimpleNamespace(signal=lambda _, handler: handlers.append(handler), SIGTERM=15, SIGINT=2)
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
    """A daemon may have closed stderr."""
    monkeypatch.setattr(sys, "__stderr__", None)
    made()._fail("no such file: x.pb")
    assert log.errors() == ["no such file: x.pb"]
    log.events.clear()
    assert reactor.hasStopped


def test_wrong_options_are_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the help page."""
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
        ({"pidfile": "twistd.pid"},
            "{folder}/twistd.pid: set another path with twistd --pidfile=PATH"),
        ({"pidfile": ""}, None),
        ({"pidfile": None}, None),
        ({"logfile": "-"}, None),
        ({"nodaemon": True}, None),
        ({"nodaemon": False}, "{folder}/twistd.log: set another path with twistd --logfile=PATH"),
        ({"nodaemon": False, "syslog": True}, None),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(
    twistd: dict[str, object],
    line: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the option for another path; twistd itself would print a traceback."""
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


def test_check_config_prints_the_settings_and_exits(capsys: pytest.CaptureFixture[str]) -> None:
    """With 0, and without a server."""
    with pytest.raises(SystemExit) as caught:
        Options({}).parseOptions(["--port", "8080", "--check-config"])
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert "8080" in out
    assert err == ""


@pytest.mark.usefixtures("reactor")
def test_what_flags_of_tensorflow_serving_mean_is_logged(log: Log) -> None:
    """One line for each."""
    made("--rest_api_port=8501", "--enable_batching=true")
    assert log.lines()[0] == "--rest_api_port=8501 sets listen = tcp:8501"
    assert log.lines()[1].startswith("--enable_batching=true is ignored: ")
