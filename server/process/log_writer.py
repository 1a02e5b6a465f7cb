"""
Write the log on a thread of its own, so that a slow or blocked target never blocks the reactor.

Decides when a line is written and which lines are dropped.  There are two kinds:

- a line of an event, such as a warning, is written at once.  The thread that logs it waits for that
  up to `MAX_WAIT_SECONDS`, so that the line is not lost if the process crashes next; it does not
  wait if the line before took longer;
- an entry of the access log is formatted and written within `FLUSH_SECONDS`, many at a time.

If either kind arrives faster than the target takes it, new ones are dropped and counted.  Before
`start` and after `stop` there is no thread: then each line is written by its caller.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from twisted.logger import Logger

from server.http.access import Access

#: Seconds after which an entry of the access log is written.
FLUSH_SECONDS = 0.5

#: The most lines and entries that wait to be written.
MAX_LINES = 1000
MAX_ENTRIES = 16384

#: Entries that are formatted and written together.  Between such groups the thread releases
#: Python's lock, so that the reactor waits for it no longer than for one group, about 0.3 ms.
GROUP_ENTRIES = 16

#: The thread is woken up at each multiple of this number of waiting entries.
WAKING_ENTRIES = 1024

#: Seconds for which a caller waits until its line is written.
MAX_WAIT_SECONDS = 0.02

#: Seconds for which `LogWriter.stop` waits until all is written.
MAX_STOP_SECONDS = 2.0

#: Seconds between two reports of dropped lines.
REPORT_SECONDS = 10.0

_log = Logger()


def write_all(descriptor: int, data: bytes) -> None:
    """Write *data*; blocks until all is written.  Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another process has made the shared target non-blocking
            writable = select.poll()
            writable.register(descriptor, select.POLLOUT)
            writable.poll()


def report_dropped(count: int) -> None:
    """Log that *count* lines were dropped."""
    _log.warn(
        "{count} lines of the log were dropped: it was not written fast enough, or not at all",
        count=count,
    )


class LogWriter:
    """
    Writes lines and entries to one target.

    `write_line` may be called on any thread, also while another call is interrupted, such as by a
    finalizer or a signal; `write_access`, `start` and `stop` on the reactor thread.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        format_access: Callable[[float, Access], bytes],
        *,
        wall_clock: Callable[[], float],
        on_dropped: Callable[[int], object] = report_dropped,
    ) -> None:
        """
        *write* writes bytes to the target; it may block, and raise an error: then these lines are
        dropped.  *format_access* returns the line of an entry, given the time at which it was
        made, which *wall_clock* returns, in seconds since the epoch.  *on_dropped* is called on
        the thread of the writer with a count of dropped lines.
        """
        self._write = write
        self._format_access = format_access
        self._wall_clock = wall_clock
        self._on_dropped = on_dropped
        # The methods of both that are used here take no lock, so a finalizer or a signal handler
        # may call them during another call.
        self._lines: SimpleQueue[tuple[bytes, threading.Event] | None] = SimpleQueue()
        self._entries: deque[tuple[float, Access]] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = False
        #: Whether the last line was written within `MAX_WAIT_SECONDS`.
        self._keeps_up = True
        # Lines and entries so far; threads that drop lines at the same moment may miss one.
        self._dropped = 0
        self._reported = 0  #: of these, those that were reported
        self._next_report = 0.0

    def start(self) -> None:
        """Start the thread.  Not before a fork, because a thread does not survive it."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write all that waits; give up after `MAX_STOP_SECONDS`.  May be called again."""
        if self._thread is None:
            return
        self._stopping = True
        self._lines.put(None)
        self._thread.join(MAX_STOP_SECONDS)
        if not self._thread.is_alive():
            self._thread = None
            while not self._lines.empty():  # logged while the thread ended
                self._write_line(self._lines.get())
            self._write_entries()

    def write_line(self, line: bytes) -> None:
        """Write *line*, which ends with a newline, at once; see the module's docstring."""
        thread = self._thread
        if thread is None:
            self._put(line, 1)
        elif self._lines.qsize() >= MAX_LINES:
            self._dropped += 1
        else:
            written = threading.Event()
            self._lines.put((line, written))
            if self._keeps_up and threading.current_thread() is not thread:
                self._keeps_up = written.wait(MAX_WAIT_SECONDS)

    def write_access(self, access: Access) -> None:
        """Write the line of *access* soon."""
        entries = self._entries
        if len(entries) >= MAX_ENTRIES:
            self._dropped += 1
            return
        entries.append((self._wall_clock(), access))
        if self._thread is None:
            self._write_entries()
        elif len(entries) % WAKING_ENTRIES == 0:
            self._lines.put(None)

    # --- on the thread

    def _run(self) -> None:
        while True:
            item = None
            with suppress(Empty):
                item = self._lines.get(timeout=FLUSH_SECONDS)
            self._write_line(item)
            self._write_entries()
            if self._lines.empty():
                self._report()
                if self._stopping and self._lines.empty():
                    return

    def _write_line(self, item: tuple[bytes, threading.Event] | None) -> None:
        if item is not None:
            line, written = item
            self._put(line, 1)
            written.set()

    def _write_entries(self) -> None:
        """Write the waiting entries; stop when a line waits, which is written first."""
        while self._entries and self._lines.empty():
            count = min(GROUP_ENTRIES, len(self._entries))
            group = [self._entries.popleft() for _ in range(count)]
            try:
                lines = b"".join([self._format_access(when, access) for when, access in group])
            except Exception:  # noqa: BLE001 - no entry may end the thread
                self._dropped += count
            else:
                self._put(lines, count)

    def _put(self, lines: bytes, count: int) -> None:
        """Write *lines*, as many as *count*; if that fails, count them as dropped."""
        began = time.monotonic()
        try:
            self._write(lines)
        except Exception:  # noqa: BLE001 - there is no place to report that the log fails
            self._dropped += count
        else:
            self._keeps_up = time.monotonic() - began < MAX_WAIT_SECONDS

    def _report(self) -> None:
        """Report lines that were dropped since the last report, if it is time to."""
        dropped = self._dropped - self._reported
        now = time.monotonic()
        if dropped and (now >= self._next_report or self._stopping):
            self._next_report = now + REPORT_SECONDS
            self._reported += dropped
            self._on_dropped(dropped)
