"""
Start servers as processes, watch them, and end them.

Every wait is for a condition and has a deadline; every process is ended by its own pid.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from model.backends.tensorflow.device import gpu_is_installed

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

#: The same as the command `tensorferry`.  -P: without the working folder on the import path, as
#: there.
TENSORFERRY = (sys.executable, "-P", "-m", "tensorferry")
SERVE = (*TENSORFERRY, "serve")
TWISTD = (str(Path(sys.executable).with_name("twistd")),)
TWISTD_N = (*TWISTD, "-n", "tensorferry")

#: The most seconds until a server is ready: it may have to convert its model first.
START = 120.0


@cache
def _settings_of_this_machine() -> dict[str, str]:
    """Return the variables for imports of the project, and for equal answers on any machine."""
    variables = {}
    try:
        distribution("tensorferry")
    except PackageNotFoundError:
        variables["PYTHONPATH"] = str(ROOT)
    if gpu_is_installed():
        variables["TENSORFERRY_DEVICE"] = "cpu"
    return variables


def environment(cache_home: Path, **more: str) -> dict[str, str]:
    """Return the environment of this process, without settings, plus *cache_home* and *more*."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TENSORFERRY_") and name != "NOTIFY_SOCKET"
    }
    cache_setting = {"XDG_CACHE_HOME": str(cache_home)}
    return inherited | _settings_of_this_machine() | cache_setting | more


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """Return the result of *condition* when it is true; fail after *seconds*, naming *what*."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds:g} s")
        time.sleep(0.01)


def port_in(log: str) -> int | None:
    """Return the port in the *log* of a server, or None."""
    found = re.search(r"listening on http://127\.0\.0\.1:(\d+)(?:\"|$)", log, re.MULTILINE)
    return int(found[1]) if found else None


def free_port() -> int:
    """Return a port that no program listens on now."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def readiness(port: int) -> int | None:
    """Return the status of `GET /readyz`, None without an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


class Server:
    """A server in a process of its own; its log has both standard output and standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self._process = process
        self._log_file = log_file
        self.pid = process.pid
        self._port = 0

    @property
    def log(self) -> str:
        """The output so far."""
        return self._log_file.read_text()

    @property
    def port(self) -> int:
        """The port of the server; waits until it listens."""
        if not self._port:
            self._port = self.wait_for(lambda: port_in(self.log), "a port in the log")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float = START) -> T:
        """Wait for *condition* while the process runs; if it ends, fail with its log."""

        def met() -> T | None:
            result = condition()
            if not result and not self.running:
                raise AssertionError(f"no {what}: ended with {self.exit_code()}\n{self.log}")
            return result

        return wait_for(met, what, seconds)

    def wait_until_ready(self, seconds: float = START) -> None:
        """Return when `/readyz` answers 200."""
        self.wait_for(lambda: port_in(self.log), "a port in the log", seconds)
        self.wait_for(lambda: readiness(self.port) == 200, "readiness")

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to this process."""
        self._process.send_signal(number)

    def exit_code(self, seconds: float = 60.0) -> int:
        """Wait for the end and return the exit code; minus the number of a signal that ended it."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """End the process and its children, if it still runs; with SIGKILL after 20 seconds."""
        if self.running:
            os.killpg(self.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()


@contextmanager
def started(
    *options: str,
    cache_home: Path,
    folder: Path,
    command: Sequence[str] = SERVE,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """
    Start a server in *folder* with *command*, with *options*; end it with the block.

    *variables* are added to its environment.
    """
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, *options],
            cwd=folder,
            env=environment(cache_home, **(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, log_file)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def serving(
    *options: str,
    cache_home: Path,
    folder: Path,
    command: Sequence[str] = SERVE,
    variables: Mapping[str, str] | None = None,
    patience: float = START,
) -> Iterator[Server]:
    """
    Start a server on any free port as `started` does; wait *patience* seconds at most.

    It has no default timeout, unless *options* name one, so that slow machines answer too.
    """
    with started(
        "--port", "0", *options, cache_home=cache_home, folder=folder, command=command,
        variables={"TENSORFERRY_DEFAULT_TIMEOUT": "none", **(variables or {})},
    ) as server:  # fmt: skip
        server.wait_until_ready(patience)
        yield server


def run_program(
    command: Sequence[str],
    *,
    cache_home: Path,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    stdin: str = "",
    seconds: float = START,
) -> "subprocess.CompletedProcess[str]":
    """Run *command* in *folder* to its end, in the environment of a server."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(cache_home, **(variables or {})),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def with_gpu_listed(folder: Path) -> dict[str, str]:
    """Return the variables of a process that finds an nvidia-smi, in *folder*, that lists a GPU."""
    listing = folder / "bin" / "nvidia-smi"
    listing.parent.mkdir()
    listing.write_text('#!/bin/sh\necho "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"\n')
    listing.chmod(0o755)
    return {"PATH": f"{listing.parent}:/usr/bin:/bin"}


#: The usage lines of click, and log lines of level info.
NOISE = re.compile(r"Usage: |Try '|\S+ \S+ info |$")


def reasons(stderr: str) -> list[str]:
    """Return the lines on *stderr* with the reason of a failed start."""
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if not NOISE.match(line)]


def resident_bytes(pid: int) -> int:
    """Return the bytes of RAM that process *pid* uses."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, f"process {pid} has no VmRSS"
    return int(found[1]) * 1024


class MemoryWatch:
    """Samples the memory of a process every 5 milliseconds, in a thread, while a block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.first = self.peak = resident_bytes(pid)

    @property
    def growth(self) -> int:
        """The most bytes above the first sample."""
        return self.peak - self.first

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # the process may have ended
            while not self._ended.wait(0.005):
                self.peak = max(self.peak, resident_bytes(self._pid))
