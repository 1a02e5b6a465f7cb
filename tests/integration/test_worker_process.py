"""Start the process of a worker when descriptors run out: server/workers/process.py."""

import errno
import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from server.workers.process import WorkerCommand, start_process
from tests.integration.supervised import worker_pids

pytestmark = pytest.mark.full

#: A folder with an entry for each descriptor of this process.
DESCRIPTORS = Path("/proc/self/fd")


class Reactor:
    """Adopts as many connections as *free*, and has no descriptor for another."""

    def __init__(self, free: int) -> None:
        self._free = free

    def adoptStreamConnection(self, descriptor: int, family: int, factory: object) -> None:
        """Duplicate *descriptor*, or raise OSError."""
        if self._free == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        self._free -= 1


def no_pidfd(_: int) -> int:
    """Take the place of `os.pidfd_open`."""
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("adopted", [0, 1, 2])
def test_a_process_that_cannot_be_watched_is_ended(
    adopted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor for one of its connections or for its end; all others are closed."""
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    command = WorkerCommand(("sleep", "60"), str(tmp_path), os.environ, on_line=print)
    children, descriptors = worker_pids(os.getpid()), len([*DESCRIPTORS.iterdir()])
    with pytest.raises(OSError, match="Too many open files"):
        start_process(
            command,
            0,
            2,
            sockets={},
            accepts_at_once=True,
            variables={},
            handlers={},
            on_ended=print,
            reactor=Reactor(adopted),
            clock=Clock(),
        )
    assert worker_pids(os.getpid()) == children
    assert len([*DESCRIPTORS.iterdir()]) == descriptors
