"""Start a server, and measure and end all processes that it starts.  Reads /proc: Linux only."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: The environment variable that marks the processes of a server.
MARK = "PEER_RUN"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

#: Seconds from SIGTERM to SIGKILL.
PATIENCE = 4.0


def read(path: str) -> bytes:
    """Return the bytes of a file of /proc; empty if its process has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def prefer(pid: int | str, nice: int) -> None:
    """
    Set the autogroup of the process *pid* to the nice value *nice*, if the kernel has autogroups.

    The scheduler divides cores between autogroups, one per session, before it compares nice values.
    So the session of the benchmark needs the larger weight: the nice value of a process in another
    session does not make it yield.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


class ProcessTree:
    """A process that this class starts, and all processes that descend from it."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        """
        Start *command* in *folder*, with *env* added to the environment; its output goes to *log*.
        """
        mark = f"{os.getpid()}.{time.monotonic_ns()}"
        self._mark = f"{MARK}={mark}".encode()
        self.started = time.monotonic()
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - commands of peers.toml
                command, env={**os.environ, **env, MARK: mark}, cwd=folder, stdout=output,
                stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def pids(self) -> list[int]:
        """
        Return the ids of the processes of the tree that have not ended.

        A process of the tree has the mark in its environment, or descends from a process that has
        it.
        """
        found: set[int] = set()
        parents: dict[int, int] = {}
        for pid in (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()):
            fields = _fields(pid)
            if not fields or fields[0] == b"Z":
                continue
            parents[pid] = int(fields[1])
            marked = self._mark in read(f"/proc/{pid}/environ").split(b"\0")
            if marked or pid == self.process.pid:
                found.add(pid)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def cpu(self) -> float:
        """
        Return the CPU seconds of the processes of the tree, and of their children that have ended.
        """
        each = (_fields(pid)[11:15] for pid in self.pids())
        return sum(sum(map(int, ticks)) for ticks in each) / TICK

    def rss(self) -> float:
        """Return the resident memory of the tree in MiB; a shared page counts in each process."""
        fields = [read(f"/proc/{pid}/statm").split() for pid in self.pids()]
        return sum(int(each[1]) for each in fields if each) * PAGE / 2**20

    def pss(self) -> float:
        """
        Return the resident memory of the tree in MiB; a shared page is divided among its processes.
        """
        lines = (
            line
            for pid in self.pids()
            for line in read(f"/proc/{pid}/smaps_rollup").splitlines()
            if line.startswith(b"Pss:")
        )
        return sum(int(line.split()[1]) for line in lines) / 1024

    def stop(self) -> None:
        """Send SIGTERM to the first process, and after `PATIENCE` seconds SIGKILL to the rest."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (self.process.poll() is None or self.pids()):
            time.sleep(0.2)
        for _ in range(5):
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            if not self.pids():
                break
        self.process.wait()


def _fields(pid: int) -> list[bytes]:
    """
    Return the fields of /proc/*pid*/stat after the name, from the state on; empty if it has ended.
    """
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
