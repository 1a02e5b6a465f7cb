"""
Write the log as one readable line an event, for people and for journals.
"""

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
    globalLogBeginner,
)

#: Below warnings, these only tell of ports, factories and pools.
_CHATTY = ("log_legacy", "twisted", "server.http.channel")


def format_event(event: LogEvent) -> str | None:
    """Return the line for *event*, with the date shown to people; None where it says nothing."""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    when = datetime.fromtimestamp(event["log_time"], UTC).astimezone()
    level = event.get("log_level", LogLevel.info).name
    return f"{when:%Y-%m-%d %H:%M:%S} {level:<8} {text}\n"


def begin_logging(to: TextIO = sys.stderr) -> None:
    """Send the process's log to *to*; call once."""
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    for namespace in _CHATTY:
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    observer = FilteringLogObserver(FileLogObserver(to, format_event), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
