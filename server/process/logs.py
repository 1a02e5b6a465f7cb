"""Write the log: one readable line for each event, and below it the traceback of a failure."""

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

#: The namespace of events that Twisted logs through its old interface.
_LEGACY = "log_legacy"

#: Namespaces whose events below warnings only concern ports, factories and thread pools.
_VERBOSE = (_LEGACY, "twisted")


def format_event(event: LogEvent) -> str | None:
    """Return the line for *event*, with local date and time; None if the event has no text."""
    message = formatEvent(event)
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    if event.get("log_namespace") == _LEGACY:  # the text includes the traceback
        message = message.partition("\n")[0]
    traceback = text.removeprefix(message).rstrip("\n")
    when = datetime.fromtimestamp(event["log_time"], UTC).astimezone()
    level = event.get("log_level", LogLevel.info).name
    # One line without control characters: it can neither control a terminal nor imitate an event.
    return f"{when:%Y-%m-%d %H:%M:%S} {level:<8} {printable(message)}{traceback}\n"


def own_stderr() -> TextIO:
    """
    Return a new stream to the present target of stderr, with a descriptor of its own.

    Output of TensorFlow's libraries to descriptor 2 is buffered at times
    (model/backends/tensorflow/quiet_stderr.py).  With its own descriptor, the lines of the log
    appear at once and survive a crash.
    """
    try:
        return os.fdopen(os.dup(2), "w", errors="backslashreplace")
    except OSError:
        return sys.stderr


def begin_logging(to: TextIO) -> None:
    """From now on, write the log of this process to *to*; call once."""
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    for namespace in _VERBOSE:
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    observer = FilteringLogObserver(FileLogObserver(to, format_event), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
