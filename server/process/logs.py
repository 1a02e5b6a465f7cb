"""
The log of the process: where it is written, and how an event gets there.

An event passes the filter of levels, `ErrorBursts`, which counts repeated errors, and the format,
and is written by a `LogWriter`; entries of the access log are passed to the writer directly.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
)
from zope.interface import implementer

from server.process.error_bursts import FIRST_INTERVAL_SECONDS, ErrorBursts
from server.process.log_lines import JSON, LEGACY, PLAIN, LineFormat, of_worker
from server.process.log_writer import LogWriter, write_all
from server.settings.table import LogFormat

#: Namespaces whose events below warnings only concern ports, factories and thread pools.
_VERBOSE = (LEGACY, "twisted")

FORMATS: Mapping[LogFormat, LineFormat] = {"plain": PLAIN, "json": JSON}


@implementer(ILogObserver)
class LineObserver:
    """A log observer that writes the line of each event that has text."""

    def __init__(
        self, line_of: Callable[[LogEvent], bytes | None], write_line: Callable[[bytes], object]
    ) -> None:
        self._line_of = line_of
        self._write_line = write_line

    def __call__(self, event: LogEvent) -> None:
        """Called with each event, on the thread that logs it."""
        line = self._line_of(event)
        if line is not None:
            self._write_line(line)


def _levels() -> LogLevelFilterPredicate:
    """Return the filter of levels: from info on, and from warnings on for `_VERBOSE`."""
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    for namespace in _VERBOSE:
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    return levels


class ServerLog:
    """The log of a server: an observer of events, and the writer of the access log."""

    def __init__(self, write: Callable[[bytes], object], lines: LineFormat) -> None:
        """*write* writes bytes to the target of the log; it may block."""
        self._writer = LogWriter(write, lines.of_access, wall_clock=time.time)  # noqa: TID251 - a date
        self._bursts = ErrorBursts(
            LineObserver(lines.of_event, self._writer.write_line), time.monotonic
        )
        self.observer: ILogObserver = FilteringLogObserver(self._bursts, [_levels()])
        self.write_access = self._writer.write_access
        #: Writes a line with its end as it is, on any thread.
        self.write_line = self._writer.write_line

    def start(self, reactor: Any) -> None:  # Any: see `server.service.InferenceService`
        """
        Write on a thread from now on, until *reactor* has stopped; called after any fork.

        Before and afterwards, the caller writes each line.
        """
        counting = LoopingCall(self._bursts.report)
        counting.clock = reactor
        counting.start(FIRST_INTERVAL_SECONDS, now=False)
        self._writer.start()
        reactor.addSystemEventTrigger("after", "shutdown", self._stop)

    def _stop(self) -> None:
        self._bursts.report(all_of_them=True)
        self._writer.stop()


def own_stderr() -> int:
    """
    Return a new descriptor of the present target of stderr; of /dev/null if stderr is closed.

    Output of TensorFlow's libraries to descriptor 2 is buffered at times
    (model/backends/tensorflow/quiet_stderr.py).  With its own descriptor, the lines of the log
    appear at once and survive a crash.
    """
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def begin_logging(
    log_format: LogFormat,
    write: Callable[[bytes], object] | None = None,
    *,
    worker: int | None = None,
) -> ServerLog:
    """
    From now on, write the log of this process with *write*, by default to stderr; call once.

    The lines name *worker*, the number of this process among several.  The caller starts the
    returned log before it runs the reactor.
    """
    lines = FORMATS[log_format]
    if worker is not None:
        lines = of_worker(lines, worker)
    log = ServerLog(write or partial(write_all, own_stderr()), lines)
    globalLogBeginner.beginLoggingTo([log.observer], redirectStandardIO=False)
    return log
