"""The log: a readable line an event."""

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
    """A time zone that no other is mistaken for: 5 h 45 min before Greenwich."""
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
    """The date as people read it where the server runs."""
    assert format_event(logged) == f"2026-02-03 09:50:06 {line}\n"


def test_an_event_that_says_nothing_is_no_line() -> None:
    """Neither without a format nor with an empty one."""
    assert format_event({"log_time": MOMENT}) is None
    assert format_event(event("")) is None


@pytest.mark.usefixtures("nepal")
def test_what_a_client_sent_cannot_begin_a_line_or_steer_a_terminal() -> None:
    """Control characters are spelled out; all else is left as it is."""
    forged = "a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t"
    assert format_event(event("GET {path}", path=forged)) == (
        "2026-02-03 09:50:06 info     GET "
        r"a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t" + "\n"
    )


@pytest.mark.usefixtures("nepal")
def test_a_failure_brings_its_traceback_below_the_line() -> None:
    """And no empty line after it."""
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
    """A log of its own, begun as a process begins its one, and what was written to it."""

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
        """Return a logger that writes here."""
        return Logger(namespace, observer=self.publisher)

    def texts(self) -> list[str]:
        """Return the lines without their dates."""
        return [line[20:] for line in self.file.getvalue().splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log that has begun."""
    log = Log(monkeypatch)
    begin_logging(log.file)
    return log


@pytest.mark.parametrize(
    "namespace", ["server.service", "server.http.klein_frontend", "model.execution.thread"]
)
def test_the_log_holds_what_matters_from_info_on(log: Log, namespace: str) -> None:
    """Whoever says it."""
    logger = log.logger(namespace)
    for level in ("debug", "info", "warn", "error", "critical"):
        getattr(logger, level)("said: {it}", it=level)
    assert log.texts() == [
        "info     said: info",
        "warn     said: warn",
        "error    said: error",
        "critical said: critical",
    ]


@pytest.mark.parametrize(
    "namespace",
    [
        "twisted.internet.tcp.Port",
        "twisted.web.server.Site",
        "twisted.python.threadpool",
        "server.http.channel",
    ],
)
def test_chatter_about_ports_factories_and_pools_is_left_out(log: Log, namespace: str) -> None:
    """But not their warnings."""
    logger = log.logger(namespace)
    logger.info("Starting factory")
    logger.warn("too many files")
    assert log.texts() == ["warn     too many files"]


def test_what_twisted_logs_in_its_old_way_is_chatter_unless_it_is_an_error(log: Log) -> None:
    """So it tells of each port that it opens and closes."""
    log.legacy.msg("Site starting on 12480")
    log.legacy.msg(isError=1, why="it broke", failure=Failure(ValueError("x")))
    first, *traceback = log.file.getvalue().splitlines()
    assert first.endswith(" critical it broke")
    assert traceback == ["Traceback (most recent call last):", "Failure: builtins.ValueError: x"]


def test_standard_output_is_left_to_the_program(log: Log) -> None:
    """Twisted would take it for the log, too; warnings are welcome there."""
    assert all(isinstance(stream, io.StringIO) for stream in vars(log.stdio).values())
    log.warnings.showwarning("it is old", DeprecationWarning, "there.py", 3)
    assert log.texts() == ["warn     there.py:3: builtins.DeprecationWarning: it is old"]


def test_what_was_logged_before_the_log_began_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes first."""
    log = Log(monkeypatch)
    log.logger("server.process.run").info("early")
    assert log.texts() == []
    begin_logging(log.file)
    log.logger("server.process.run").info("late")
    assert log.texts() == ["info     early", "info     late"]
