"""
Write the log as one readable line an event, for people and for journals.

A failure's traceback stands below its line.
"""

import os
import sys
from datetime import UTC, datetime
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    globalLogBeginner,
)

from server.settings.option import printable

#: The namespace of what Twisted still logs through its old interface.
_LEGACY = "log_legacy"

#: Below warnings, these only tell of ports, factories and pools.
_CHATTY = (_LEGACY, "twisted", "server.http.channel")


def format_event(event: LogEvent) -> str | None:
    """Return the line for *event*, with the date shown to people; None where it says nothing."""
    message = formatEvent(event)
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    if event.get("log_namespace") == _LEGACY:  # its text holds the traceback already
        message = message.partition("\n")[0]
    traceback = text.removeprefix(message).rstrip("\n")
    when = datetime.fromtimestamp(event["log_time"], UTC).astimezone()
    level = event.get("log_level", LogLevel.info).name
    # In one line that can neither steer a terminal nor pass for two events.
    return f"{when:%Y-%m-%d %H:%M:%S} {level:<8} {printable(message)}{traceback}\n"


def own_stderr() -> TextIO:
    """
    Return a stream of its own to where stderr leads now.

    What TensorFlow's libraries write to descriptor 2 is held back at times
    (model/backends/tensorflow/quiet_stderr.py); the log is not, and it is not lost in a crash.
    """
    try:
        return os.fdopen(os.dup(2), "w", errors="backslashreplace")
    except OSError:
        return sys.stderr


def begin_logging(to: TextIO) -> None:
    """Send the process's log to *to*; call once."""
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    for namespace in _CHATTY:
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    observer = FilteringLogObserver(FileLogObserver(to, format_event), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
