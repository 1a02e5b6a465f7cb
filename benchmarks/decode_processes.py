"""
Decode images in processes of their own, as a server would that had no threads for it.

The files go in and the pixels come back through memory that all share; the reactor itself waits on
the pipes, so there is no thread in between.  Workers are started afresh, not forked: TensorFlow's
threads would not survive that.  For measuring: an image that cannot be decoded ends its worker.
"""

import mmap
import os
import subprocess
import sys
from collections import deque
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from twisted.internet.defer import Deferred

from benchmarks.decode_worker import ANSWERED, ASKED, Work
from model.images.preprocessing import Preprocessing

SLOTS = 2  #: of each worker: while it decodes one image, the next one waits beside it

Pixels = npt.NDArray[np.uint8]


class Worker:
    """One process, its pipe and its memory; a reader for the reactor."""

    def __init__(self, work: Work) -> None:
        """Start the process; it is `ready` some time later."""
        self.free = list(range(SLOTS))
        self._work = work
        self._waiting: dict[int, Deferred[Pixels]] = {}
        memory = os.memfd_create("pixels")
        os.ftruncate(memory, SLOTS * work.slot_bytes)
        self._memory = mmap.mmap(memory, 0)
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "benchmarks.decode_worker"]
        files = (theirs.fileno(), memory)
        self.process = subprocess.Popen([*command, *map(str, files)], pass_fds=files)  # noqa: S603 - ours
        theirs.close()
        os.close(memory)
        self._pipe.send(work)

    def wait_until_ready(self) -> None:
        """Block until the process takes images; raises EOFError where it has ended."""
        self._pipe.recv_bytes()

    def decode(self, data: bytes, deferred: Deferred[Pixels]) -> None:
        """Have *data* decoded in a free slot; fires *deferred*."""
        slot = self.free.pop()
        start = slot * self._work.slot_bytes
        self._memory[start : start + len(data)] = data
        self._waiting[slot] = deferred
        self._pipe.send_bytes(ASKED.pack(slot, len(data)))

    def cpu_seconds(self) -> float:
        """Return what the process has used of its cores."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return the memory of the process in MB, what it shares with others split among them."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6

    def stop(self) -> None:
        """Close the pipe, which ends the process, and wait for that."""
        self._pipe.close()
        self.process.wait()

    # --- what a reactor asks of a reader

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._pipe.fileno()

    def logPrefix(self) -> str:
        """Return a name for the log."""
        return "decode worker"

    def doRead(self) -> None:
        """Take one answer off the pipe; what it fires may ask for more at once."""
        (slot,) = ANSWERED.unpack(self._pipe.recv_bytes())
        height, width = self._work.preprocessing.height, self._work.preprocessing.width
        start = slot * self._work.slot_bytes
        seen = np.frombuffer(self._memory, np.uint8, height * width * 3, start)
        pixels = seen.reshape(height, width, 3).copy()
        self.free.append(slot)
        self._waiting.pop(slot).callback(pixels)

    def connectionLost(self, reason: object) -> None:
        """Fail what the process was asked for: it has ended."""
        for deferred in self._waiting.values():
            deferred.errback(ChildProcessError("a decode worker has ended"))


class DecodeProcesses:
    """Any number of workers, and a queue in front of them.  For the reactor's thread."""

    def __init__(
        self, reactor: Any, count: int, preprocessing: Preprocessing, largest: int
    ) -> None:
        """Start *count* workers for files of up to *largest* bytes; blocks until they are ready."""
        slot_bytes = max(largest, preprocessing.height * preprocessing.width * 3)
        self.workers = [Worker(Work(preprocessing, slot_bytes)) for _ in range(count)]
        self._queue: deque[tuple[bytes, Deferred[Pixels]]] = deque()
        self._reactor = reactor
        for worker in self.workers:
            worker.wait_until_ready()
            reactor.addReader(worker)

    def decode(self, data: bytes) -> Deferred[Pixels]:
        """Return the pixels of the image file *data*, as `decode_image` makes them."""
        deferred: Deferred[Pixels] = Deferred()
        deferred.addBoth(self._go_on)
        self._queue.append((data, deferred))
        self._go_on(None)
        return deferred

    def cpu_seconds(self) -> float:
        """Return what all workers have used of the cores."""
        return sum(worker.cpu_seconds() for worker in self.workers)

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            self._reactor.removeReader(worker)
            worker.stop()

    def _go_on(self, result: Any) -> Any:
        """Hand on what waits, the idlest worker first."""
        while self._queue:
            worker = max(self.workers, key=lambda each: len(each.free))
            if not worker.free:
                break
            worker.decode(*self._queue.popleft())
        return result
