"""The log of ``twistd tensorferry``: server/process/twistd_log.py and tap.py."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, LogLevel
from twisted.python import usage
from twisted.python.logfile import LogFile

from server.process.tap import Options, makeService
from server.process.twistd_log import RotatedFile, twistd_log
from tests.fakes.service import FakeReactor
from twisted import internet


@pytest.fixture(autouse=True)
def closed_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the files of the test: a server keeps its log open to its end."""
    opened = []

    class Closed(LogFile):
        def _openFile(self) -> None:
            super()._openFile()  # type: ignore[no-untyped-call]  # Twisted's
            opened.append(self._file)

    monkeypatch.setattr("server.process.twistd_log.LogFile", Closed)
    yield
    for file in opened:
        file.close()


EVENT = {
    "log_format": "it is {it}",
    "it": "ready",
    "log_time": 0.0,
    "log_level": LogLevel.info,
    "log_namespace": "server.service",
}


@pytest.mark.parametrize(
    ("twistd", "name"),
    [
        ({"nodaemon": True, "logfile": "own.log"}, "own.log"),
        ({"nodaemon": False}, "twistd.log"),
        ({"nodaemon": False, "logfile": "own.log"}, "own.log"),
    ],
)
def test_the_application_logs_where_twistd_would(
    twistd: dict[str, object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The observer is a component of the application; the file is opened at the first event.

    Lines of Twisted about itself are left out, as without twistd.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(internet, "reactor", FakeReactor())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = Options({})
    options.parent = usage.Options()
    options.parent.update(twistd)
    options.parseOptions(["--log-format", "json"])
    application = Application("ferry")
    makeService(options).setServiceParent(application)
    observer = application.getComponent(ILogObserver)
    assert list(tmp_path.iterdir()) == []
    observer({**EVENT, "log_namespace": "twisted.application.app"})
    observer(EVENT)
    line = b'{"time":"1970-01-01T00:00:00.000Z","level":"info",'
    (written,) = (tmp_path / name).read_bytes().splitlines()
    assert written.startswith(line)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("twistd", [{"nodaemon": True}, {"nodaemon": True, "logfile": "-"}])
def test_without_a_file_the_log_is_written_to_standard_output(
    twistd: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The present one: twistd replaces `sys.stdout` later."""
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: writing))
    log = twistd_log(twistd, "plain")
    monkeypatch.undo()
    assert log is not None
    log.observer(EVENT)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().endswith(b" [server.service#info] it is ready\n")


@pytest.mark.parametrize(
    "twistd",
    [{"syslog": True}, {"logger": print, "logfile": "x"}, {"nodaemon": False, "logfile": "-"}],
)
def test_twistd_keeps_its_other_logs(twistd: dict[str, object]) -> None:
    """And the error that a daemon has no standard output."""
    assert twistd_log(twistd, "plain") is None


@pytest.mark.parametrize("option", ["syslog", "logger"])
def test_json_needs_a_log_of_ours(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the option that prevents it."""
    options = Options({})
    options.parent = usage.Options()
    options.parent.update({option: "it"})
    with pytest.raises(SystemExit):
        options.parseOptions(["--log-format=json"])
    assert capsys.readouterr().err == (
        f"twistd tensorferry: --log-format json has no effect with twistd --{option}, "
        "which writes text: use --logfile\n"
    )


def test_a_signal_begins_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next line, unless the process has a handler of its own."""
    handlers: list[tuple[int, Callable[[], object]]] = []
    monkeypatch.setattr(signal, "signal", lambda *arguments: handlers.append(arguments))
    file = RotatedFile(str(tmp_path / "ferry.log"))
    file.write(b"one\n")
    ((number, handler),) = handlers
    assert number == signal.SIGUSR1
    file.write(b"two\n")
    handler()
    file.write(b"three\n")
    texts = [(tmp_path / name).read_text() for name in ("ferry.log.1", "ferry.log")]
    assert texts == ["one\ntwo\n", "three\n"]
    monkeypatch.setattr(signal, "getsignal", lambda _: print)
    RotatedFile(str(tmp_path / "other.log")).write(b"one\n")
    assert len(handlers) == 1
