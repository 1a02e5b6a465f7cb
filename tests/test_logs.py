"""The log, one readable line an event: server/process/logs.py."""

import io
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from twisted.logger import LogBeginner, LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyLogPublisher

import server.process.logs
from server.process.logs import begin_logging, format_event

#: A moment in Unix time: 2026-02-03 04:05:06 UTC.
MOMENT = 1770091506.75


@pytest.fixture
def nepal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set an unusual time zone: 5 h 45 min ahead of UTC."""
    with monkeypatch.context() as context:
        context.setenv("TZ", "NPT-5:45")
        time.tzset()
        yield
    time.tzset()


def event(text: str, **more: object) -> LogEvent:
    """Return an event as Twisted's logger makes it."""
    return {"log_format": text, "log_time": MOMENT, "log_level": LogLevel.info, **more}


@pytest.mark.usefixtures("nepal")
@pytest.mark.parametrize(
    ("logged", "line"),
    [
        (event("{name} is ready", name="net/1"), "info     net/1 is ready"),
        (event("careful", log_level=LogLevel.warn), "warn     careful"),
        (event("it broke", log_level=LogLevel.critical), "critical it broke"),
        ({"log_format": "from elsewhere", "log_time": MOMENT}, "info     from elsewhere"),
        (event("caña {n:.1f} ms", n=2.25), "info     caña 2.2 ms"),
    ],
)
def test_a_line_has_date_level_and_text(logged: LogEvent, line: str) -> None:
    """Date and time are local."""
    assert format_event(logged) == f"2026-02-03 09:50:06 {line}\n"


def test_an_event_without_text_is_no_line() -> None:
    """Without a format, or with an empty one."""
    assert format_event({"log_time": MOMENT}) is None
    assert format_event(event("")) is None


@pytest.mark.usefixtures("nepal")
def test_text_of_a_client_cannot_begin_a_line_or_control_a_terminal() -> None:
    """Control characters are escaped; other characters stay."""
    forged = "a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t"
    assert format_event(event("GET {path}", path=forged)) == (
        "2026-02-03 09:50:06 info     GET "
        r"a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t" + "\n"
    )


@pytest.mark.usefixtures("nepal")
def test_the_traceback_of_a_failure_follows_the_line() -> None:
    """Without an empty line at the end."""
    failed = Failure(ValueError("the reason"))
    text = format_event(
        event("request {id}\nfailed", id="7", log_level=LogLevel.critical, log_failure=failed)
    )
    assert text is not None
    first, second, *_, last, end = text.split("\n")
    assert first == r"2026-02-03 09:50:06 critical request 7\nfailed"
    assert second.startswith("Traceback")
    assert last.endswith("builtins.ValueError: the reason")
    assert end == ""


class Log:
    """A log of the test, begun as that of a process, and the text written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = io.StringIO()
        self.publisher = LogPublisher()
        self.legacy = LegacyLogPublisher(
            observerPublisher=LogPublisher(), publishPublisher=self.publisher
        )
        self.stdio = SimpleNamespace(stdout=io.StringIO(), stderr=io.StringIO())
        self.warnings = SimpleNamespace(showwarning=None)
        beginner = LogBeginner(self.publisher, io.StringIO(), self.stdio, self.warnings)
        monkeypatch.setattr(server.process.logs, "globalLogBeginner", beginner)

    def logger(self, namespace: str) -> Logger:
        """Return a logger that writes to this log."""
        return Logger(namespace, observer=self.publisher)

    def texts(self) -> list[str]:
        """Return the lines without their dates."""
        return [line[20:] for line in self.file.getvalue().splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Return a log that has begun."""
    log = Log(monkeypatch)
    begin_logging(log.file)
    return log


OURS = ["info", "warn", "error", "critical"]


@pytest.mark.parametrize(
    ("namespace", "levels"),
    [
        *((name, OURS) for name in ("server.service", "server.http.klein_frontend")),
        ("model.execution.thread", OURS),
        # ports, factories and pools report each of their starts
        *((f"twisted.{name}", OURS[1:]) for name in ("internet.tcp.Port", "web.server.Site")),
        ("twisted.python.threadpool", OURS[1:]),
    ],
)
def test_the_log_holds_events_from_info_on(log: Log, namespace: str, levels: list[str]) -> None:
    """Of each of our modules; from warnings on of some of Twisted's."""
    logger = log.logger(namespace)
    for level in ("debug", *OURS):
        getattr(logger, level)("logged: {it}", it=level)
    assert log.texts() == [f"{level:8} logged: {level}" for level in levels]


def test_events_of_the_old_interface_are_left_out_unless_they_are_errors(log: Log) -> None:
    """Twisted reports the ports that it opens and closes that way."""
    log.legacy.msg("Site starting on 12480")
    log.legacy.msg(isError=1, why="it broke", failure=Failure(ValueError("x")))
    first, *traceback = log.file.getvalue().splitlines()
    assert first.endswith(" critical it broke")
    assert traceback == ["Traceback (most recent call last):", "Failure: builtins.ValueError: x"]


def test_standard_output_is_not_redirected(log: Log) -> None:
    """Twisted would write it to the log by default; Python's warnings are logged."""
    assert all(isinstance(stream, io.StringIO) for stream in vars(log.stdio).values())
    log.warnings.showwarning("it is old", DeprecationWarning, "there.py", 3)
    assert log.texts() == ["warn     there.py:3: builtins.DeprecationWarning: it is old"]


def test_events_before_the_log_begins_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written first."""
    log = Log(monkeypatch)
    log.logger("server.process.run").info("early")
    assert log.texts() == []
    begin_logging(log.file)
    log.logger("server.process.run").info("late")
    assert log.texts() == ["info     early", "info     late"]
