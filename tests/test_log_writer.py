"""The thread that writes the log: server/process/log_writer.py."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from server.http.access import Access
from server.process.log_writer import MAX_ENTRIES, MAX_LINES, LogWriter, write_all

#: Seconds after which a test fails.
LIMIT = 10.0


def entry(number: int) -> Access:
    """Return an entry whose request id is *number*."""
    return Access("unix", "GET", "/", 200, 0, str(number))


def line_of(_: float, access: Access) -> bytes:
    """Return the line of *access*; fails if its id is no number."""
    return b"%d\n" % int(access.request_id)


class Target:
    """A target that can be blocked, or fail."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.error: OSError | None = None

    def write(self, lines: bytes) -> None:
        """Take *lines* when it is open."""
        self.entered.set()
        assert self.open.wait(LIMIT)
        if self.error is not None:
            raise self.error
        self.taken.append(lines)

    @property
    def text(self) -> bytes:
        """All that was written."""
        return b"".join(self.taken)


@contextmanager
def started(
    write: Callable[[bytes], object], on_dropped: Callable[[int], object] = lambda _: None
) -> Iterator[LogWriter]:
    """Run a writer while the block runs."""
    writer = LogWriter(write, line_of, wall_clock=lambda: 0.0, on_dropped=on_dropped)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def test_a_slow_target_delays_one_caller_and_not_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second line is written only after its caller has gone on."""
    target = Target()
    gates = {b"first\n": threading.Event(), b"second\n": threading.Event()}

    def write(lines: bytes) -> None:
        assert gates[lines].wait(LIMIT)
        target.write(lines)

    with started(write) as writer:
        writer.write_line(b"first\n")  # its caller waits for MAX_WAIT_SECONDS
        gates[b"first\n"].set()
        assert target.entered.wait(LIMIT)
        monkeypatch.setattr("server.process.log_writer.MAX_WAIT_SECONDS", 2 * LIMIT)
        writer.write_line(b"second\n")
        gates[b"second\n"].set()
    assert target.text == b"first\nsecond\n"


def test_a_line_is_written_before_its_caller_goes_on() -> None:
    """Without a thread, and with one; so that it survives a crash."""
    target = Target()
    writer = LogWriter(target.write, line_of, wall_clock=lambda: 0.0)
    writer.write_line(b"start\n")
    writer.write_access(entry(1))
    assert target.text == b"start\n1\n"
    writer.start()
    writer.write_line(b"runs\n")
    assert target.text == b"start\n1\nruns\n"
    writer.stop()
    writer.write_line(b"stopped\n")
    writer.stop()
    assert target.text == b"start\n1\nruns\nstopped\n"


def test_entries_are_written_after_a_line_and_at_a_stop() -> None:
    """In their order."""
    target = Target()
    with started(target.write) as writer:
        for number in range(200):
            writer.write_access(entry(number))
        writer.write_line(b"failed\n")
        writer.write_access(entry(200))
    lines = target.text.split()
    lines.remove(b"failed")
    assert lines == [b"%d" % number for number in range(201)]
    assert len(target.taken) < 20


def test_entries_are_written_soon_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another line."""
    monkeypatch.setattr("server.process.log_writer.FLUSH_SECONDS", 0.01)
    target = Target()
    with started(target.write) as writer:
        writer.write_access(entry(1))
        assert target.entered.wait(LIMIT)


def test_a_blocked_target_blocks_no_caller_and_loses_a_counted_number() -> None:
    """What does not wait in memory is dropped; the rest is written when the target is free."""
    target, dropped = Target(), list[int]()
    with started(target.write, dropped.append) as writer:
        target.open.clear()
        writer.write_line(b"first\n")
        for number in range(MAX_ENTRIES + 5):
            writer.write_access(entry(number))
        for _ in range(MAX_LINES + 7):
            writer.write_line(b"line\n")
        target.open.set()
    kept = target.text.split()
    assert len(kept) + sum(dropped) == 1 + MAX_ENTRIES + 5 + MAX_LINES + 7
    assert kept[0] == b"first"
    assert kept[-1] == b"%d" % (MAX_ENTRIES - 1)
    assert len(dropped) == 1


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    """They are counted, and later lines are written."""
    target, dropped = Target(), list[int]()
    with started(target.write, dropped.append) as writer:
        target.error = OSError(28, "No space left on device")
        writer.write_line(b"lost\n")
        target.error = None
        writer.write_line(b"kept\n")
    assert (target.text, sum(dropped)) == (b"kept\n", 1)


def test_an_entry_that_cannot_be_formatted_ends_no_thread() -> None:
    """It is dropped, with those of its group."""
    target, dropped = Target(), list[int]()
    with started(target.write, dropped.append) as writer:
        writer.write_access(Access("unix", "GET", "/", 200, 0, "no number"))
        writer.write_line(b"kept\n")
    assert (target.text, dropped) == (b"kept\n", [1])


def test_a_finalizer_may_log_on_the_thread_of_the_writer() -> None:
    """It must not wait for itself."""
    target = Target()

    def format_and_log(*_: object) -> bytes:
        writer.write_line(b"collected\n")
        return b"entry\n"

    writer = LogWriter(target.write, format_and_log, wall_clock=lambda: 0.0)
    writer.start()
    writer.write_access(entry(1))
    writer.stop()
    assert sorted(target.text.split()) == [b"collected", b"entry"]


def test_a_pipe_that_is_not_read_blocks_no_caller() -> None:
    """A real one; when it is read, all lines arrive complete."""
    reading, writing = os.pipe()
    line = b"x" * 999 + b"\n"
    with started(partial(write_all, writing)) as writer:
        for _ in range(300):  # a pipe takes 64 KiB
            writer.write_line(line)
        with os.fdopen(reading, "rb") as pipe:
            read = pipe.read(300 * len(line))
    os.close(writing)
    assert read == line * 300


@pytest.mark.parametrize("blocking", [True, False])
def test_a_large_line_is_written_completely(blocking: bool) -> None:
    """In parts, also to a target that another process has made non-blocking."""
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    data = bytes(range(256)) * 2000
    thread = threading.Thread(target=write_all, args=(writing, data))
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read(len(data)) == data
    thread.join(LIMIT)
    os.close(writing)
