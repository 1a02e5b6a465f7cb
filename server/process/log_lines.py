"""
The forms of a line of the log: plain text, JSON, and that of twistd.

Pure.  A format has two functions: one for an event of twisted.logger, and one for an entry of the
access log, which needs no event and is faster.  docs/logs.md lists the keys of a JSON line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

import orjson
from twisted.logger import (
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
    formatEventAsClassicLogText,
)

from server.http.access import Access, access_fields, access_line
from server.settings.option import printable

#: The namespace of events that Twisted logs through its old interface.
LEGACY = "log_legacy"

#: The logger of lines of the access log.
ACCESS = "access"

#: The fields of an event that a JSON line shows under the same key.
_SHOWN = ("request_id", "trace_id", "span_id", "model")


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How lines are written; each function returns the line with its end."""

    #: Returns None if the event has no text.
    of_event: Callable[[LogEvent], bytes | None]
    #: Called with the time of the entry, in seconds since the epoch.
    of_access: Callable[[float, Access], bytes]


def plain_event(event: LogEvent, worker: int | None = None) -> bytes | None:
    """
    Return the line for *event*, with local date and time, and below it the traceback of a failure.

    *worker* is the number of the worker that logs it, if there are several.
    """
    message, traceback = _texts(event)
    if not message and not traceback:
        return None
    return _plain(event["log_time"], _level(event), _by(worker) + message, traceback)


def _by(worker: int | None) -> str:
    return "" if worker is None else f"worker {worker}: "


def _plain(when: float, level: str, message: str, traceback: str = "") -> bytes:
    date = f"{datetime.fromtimestamp(when, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    # One line without control characters: it can neither control a terminal nor imitate an event.
    return _encoded(f"{date} {level:<8} {printable(message)}{traceback}\n")


def _plain_access(when: float, access: Access, worker: int | None = None) -> bytes:
    return _plain(when, LogLevel.info.name, _by(worker) + access_line(access))


def json_event(event: LogEvent, worker: int | None = None) -> bytes | None:
    """
    Return *event* as a JSON object in one line; None if the event has no text.

    *worker* is the number of the worker that logs it, if there are several.
    """
    message, traceback = _texts(event)
    if not message and not traceback:
        return None
    logger = event.get("log_namespace") or event.get("log_system") or LEGACY
    fields = _head(event["log_time"], _level(event), logger, message, worker)
    fields |= {key: str(event[key]) for key in _SHOWN if event.get(key) is not None}
    # Without a model, `version` is that of a program.
    if "model" in fields and event.get("version") is not None:
        fields["version"] = str(event["version"])
    access = event.get("access")
    if isinstance(access, Access):
        fields |= access_fields(access)
    if traceback:
        fields["traceback"] = traceback.lstrip("\n")
    return _json(fields)


def _json_access(when: float, access: Access, worker: int | None = None) -> bytes:
    message = f"{access.method} {access.uri} {access.status}"
    head = _head(when, LogLevel.info.name, ACCESS, message, worker)
    return _json(head | access_fields(access))


def _head(
    when: float, level: str, logger: object, message: str, worker: int | None
) -> dict[str, object]:
    second, part = divmod(int(when * 1000), 1000)
    return {
        "time": f"{_utc(second)}.{part:03d}Z",
        "level": level,
        "logger": str(logger),
        "message": message,
        **({} if worker is None else {"worker": worker}),
    }


@lru_cache(maxsize=1)
def _utc(second: int) -> str:
    """Return the date and time of *second*, in seconds since the epoch, in UTC."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _json(fields: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half of a surrogate pair, as in the name of a file
        texts = {key: it if not isinstance(it, str) else _valid(it) for key, it in fields.items()}
        return orjson.dumps(texts, option=orjson.OPT_APPEND_NEWLINE)


def _twistd_event(event: LogEvent) -> bytes | None:
    line = formatEventAsClassicLogText(event)
    return None if line is None else _encoded(line)


def _twistd_access(when: float, access: Access) -> bytes:
    event: LogEvent = {
        "log_format": "{line}",
        "line": access_line(access),
        "log_time": when,
        "log_level": LogLevel.info,
        "log_namespace": ACCESS,
    }
    return _twistd_event(event) or b""


def _texts(event: LogEvent) -> tuple[str, str]:
    """Return the message of *event*, and its traceback with a line end before it."""
    message = formatEvent(event)
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if event.get("log_namespace") == LEGACY:  # the text includes the traceback
        message = message.partition("\n")[0]
    if text and not message:  # a failure that was logged without words
        return "unhandled error", "\n" + text.strip("\n")
    return message, text.removeprefix(message).rstrip("\n")


def _level(event: LogEvent) -> str:
    level: str = event.get("log_level", LogLevel.info).name
    return level


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _valid(text: str) -> str:
    return _encoded(text).decode()


PLAIN = LineFormat(plain_event, _plain_access)
JSON = LineFormat(json_event, _json_access)
#: The form of twistd's own log.
TWISTD = LineFormat(_twistd_event, _twistd_access)


def of_worker(lines: LineFormat, worker: int) -> LineFormat:
    """Return `PLAIN` or `JSON`, as *lines* is, with lines that name the worker."""
    of_event, of_access = (plain_event, _plain_access)
    if lines is JSON:
        of_event, of_access = (json_event, _json_access)
    return LineFormat(partial(of_event, worker=worker), partial(of_access, worker=worker))
