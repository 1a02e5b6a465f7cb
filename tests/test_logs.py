"""The lines of the log, and which events it has: server/process/log_lines.py and logs.py."""

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from twisted.logger import LogBeginner, LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyLogPublisher

import server.process.logs
from batcher.trace import Run, Trace
from server.call import Timing
from server.http.access import Access
from server.http.trace_context import TraceContext
from server.process.log_lines import JSON, PLAIN, TWISTD, json_event, of_worker, plain_event
from server.process.logs import begin_logging

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
    assert plain_event(logged) == f"2026-02-03 09:50:06 {line}\n".encode()


@pytest.mark.usefixtures("nepal")
def test_a_line_of_a_worker_names_it() -> None:
    """In both formats, also in the access log."""
    plain, as_json = of_worker(PLAIN, 2), of_worker(JSON, 2)
    for line in (plain.of_event(event("it is ready")), plain.of_access(MOMENT, entry())):
        assert line is not None
        assert line.startswith(b"2026-02-03 09:50:06 info     worker 2: ")
    for line in (as_json.of_event(event("it is ready")), as_json.of_access(MOMENT, entry())):
        assert json_of(line)["worker"] == 2


def test_an_event_without_text_is_no_line() -> None:
    """Without a format, or with an empty one."""
    for empty in ({"log_time": MOMENT}, event("")):
        assert plain_event(empty) is json_event(empty) is TWISTD.of_event(empty) is None


@pytest.mark.usefixtures("nepal")
def test_text_of_a_client_cannot_begin_a_line_or_control_a_terminal() -> None:
    """Control characters are escaped; other characters stay."""
    forged = "a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t"
    text = plain_event(event("GET {path}", path=forged))
    assert text is not None
    assert text.decode() == (
        "2026-02-03 09:50:06 info     GET "
        r"a\n2026-02-03 09:50:06 info     b\r\x1b[31m\x00\x7f\x9b\u202eü\t" + "\n"
    )


@pytest.mark.usefixtures("nepal")
def test_the_traceback_of_a_failure_follows_the_line() -> None:
    """Without an empty line at the end."""
    failed = Failure(ValueError("the reason"))
    text = plain_event(
        event("request {id}\nfailed", id="7", log_level=LogLevel.critical, log_failure=failed)
    )
    assert text is not None
    first, second, *_, last, end = text.decode().split("\n")
    assert first == r"2026-02-03 09:50:06 critical request 7\nfailed"
    assert second.startswith("Traceback")
    assert last.endswith("builtins.ValueError: the reason")
    assert end == ""


class Log:
    """A log of the test, begun as that of a process, and the text written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = io.BytesIO()
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
        return [line[20:] for line in self.file.getvalue().decode().splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Return a log that has begun."""
    log = Log(monkeypatch)
    begin_logging("plain", log.file.write)
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
    first, *traceback = log.file.getvalue().decode().splitlines()
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
    begin_logging("plain", log.file.write)
    log.logger("server.process.run").info("late")
    assert log.texts() == ["info     early", "info     late"]


# --- JSON

TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def json_of(line: bytes | None) -> dict[str, object]:
    """Return the object in *line*, which is one line."""
    assert line is not None
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found = orjson.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("nepal")
def test_a_json_line_has_the_fields_of_its_event() -> None:
    """The time is UTC; a traceback is one string; others that are unknown are left out."""
    plain = event("{name} is ready\n", name="net/1", log_namespace="server.models", version="9")
    assert json_of(json_event(plain)) == {
        "time": "2026-02-03T04:05:06.750Z",
        "level": "info",
        "logger": "server.models",
        "message": "net/1 is ready\n",
    }
    about = {"request_id": "7", "trace_id": "a1", "span_id": "b2", "model": "net", "version": "1"}
    failed = Failure(ValueError("the reason"))
    line = json_of(
        json_event(event("failed", log_level=LogLevel.critical, log_failure=failed, **about))
    )
    assert {key: line[key] for key in about} == about
    assert (line["level"], line["message"]) == ("critical", "failed")
    assert line["traceback"] == (
        "Traceback (most recent call last):\nFailure: builtins.ValueError: the reason"
    )


def test_a_failure_without_words_has_a_message() -> None:
    """As Twisted logs some of them."""
    line = json_of(json_event(event("", log_failure=Failure(ValueError("x")))))
    assert line["message"] == "unhandled error"
    assert str(line["traceback"]).startswith("Traceback")


def test_any_text_can_be_written_as_json() -> None:
    """A name of a file may hold half of a surrogate pair; control characters are escaped."""
    assert json_of(json_event(event("{it}", it="a\udc80\x1b\n")))["message"] == "a\\udc80\x1b\n"


def entry(*, timed: bool = True) -> Access:
    """Return the entry of a request that took a second."""
    runs = [Run(8, 8, "full", 0.25, started=4.0), Run(3, 8, "retry", 0.125, started=4.25)]
    timing = Timing(0.0625, 0.03125, 2, Trace(0.125, runs), decode_wait=0.0625, rows_before=6)
    access = Access("192.0.2.7", "POST", "/?a=1", 200, 12, "mine", whole=1.0)
    if timed:
        access.server_timing, access.model, access.trace = "decode;dur=62.500", "pets/7", TRACE
        access.timing, access.received, access.ready = timing, 0.25, 0.96875
    return access


def test_a_json_line_of_the_access_log_has_its_numbers() -> None:
    """In milliseconds; the phases add up to the whole time."""
    line = json_of(JSON.of_access(MOMENT, entry()))
    assert line == {
        "time": "2026-02-03T04:05:06.750Z",
        "level": "info",
        "logger": "access",
        "message": "POST /?a=1 200",
        "request_id": "mine",
        "trace_id": TRACE.trace_id,
        "span_id": TRACE.span_id,
        "model": "pets",
        "version": "7",
        "client": "192.0.2.7",
        "method": "POST",
        "path": "/?a=1",
        "status": 200,
        "bytes": 12,
        "ms": 1000.0,
        "receive_ms": 250.0,
        "decode_wait_ms": 62.5,
        "decode_ms": 62.5,
        "queue_ms": 125.0,
        "run_ms": 375.0,
        "encode_ms": 31.25,
        "write_ms": 31.25,
        "other_ms": 62.5,
        "whole_ms": 968.75,
        "rows": 2,
        "rows_before": 6,
        "batch_rows": 3,
        "batch_reason": "retry",
        "batches": 2,
    }
    assert sum(float(str(line[f"{phase}_ms"])) for phase in PHASES) == line["ms"]


PHASES = ("receive", "decode_wait", "decode", "queue", "run", "encode", "write", "other")


@pytest.mark.usefixtures("nepal")
def test_a_plain_line_of_the_access_log_ends_with_the_whole_time() -> None:
    """After Server-Timing; then the trace, if the client has named one."""
    date, first = b"2026-02-03 09:50:06 info     ", b"192.0.2.7 POST /?a=1 200 12 mine "
    timing = b"decode;dur=62.500, whole;dur=1000.000 trace=4bf92f3577b34da6a3ce929d0e0e4736"
    assert PLAIN.of_access(MOMENT, entry()) == date + first + timing + b"\n"
    whole = b"whole;dur=1000.000\n"
    assert PLAIN.of_access(MOMENT, entry(timed=False)) == date + first + whole
    assert TWISTD.of_access(MOMENT, entry(timed=False)).endswith(b" [access#info] " + first + whole)
    unknown = Access("unix", "-", "-", 400, 9, "x")
    assert PLAIN.of_access(MOMENT, unknown) == date + b"unix - - 400 9 x \n"
    assert "ms" not in json_of(JSON.of_access(MOMENT, unknown))


PAGE = Path(__file__).parent.parent / "docs" / "logs.md"


def test_the_page_lists_each_key_of_a_line() -> None:
    """Each in a table, and no other; the samples have the keys of real lines, in their order."""
    failed = event("failed", log_failure=Failure(ValueError("x")), request_id="7")
    failed |= {"model": "pets", "version": "7"}
    lines = (json_of(JSON.of_access(MOMENT, entry())), json_of(json_event(failed)))
    text = PAGE.read_text(encoding="utf-8")
    listed = set()
    for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE):
        listed |= set(re.findall(r"\w+", row))
    worker = json_of(of_worker(JSON, 0).of_event(event("ready")))
    assert listed == lines[0].keys() | lines[1].keys() | worker.keys()
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    _, access, error = (orjson.loads(line) for line in block.splitlines())
    assert list(access) == list(lines[0])
    assert list(error) == list(lines[1])
    assert sum(access[f"{phase}_ms"] for phase in PHASES) == pytest.approx(access["ms"])
