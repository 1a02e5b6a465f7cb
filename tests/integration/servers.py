"""
Start servers as processes of their own, watch them, and see them end.

Every wait is for a condition and has a deadline; every process is ended by its own pid.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from model.backends.tensorflow.device import gpu_is_installed

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

#: What the command `tensorferry` does.  -P: like the command, without the working folder on the
#: path.
TENSORFERRY = (sys.executable, "-P", "-m", "tensorferry")
SERVE = (*TENSORFERRY, "serve")
TWISTD = (str(Path(sys.executable).with_name("twistd")),)
TWISTD_N = (*TWISTD, "-n", "tensorferry")

#: Seconds that a server may take to become ready: it may have to convert its model first.
START = 120.0


@cache
def _settings_of_this_machine() -> dict[str, str]:
    """Return the variables that make the project found, and the answers the same everywhere."""
    variables = {}
    try:
        distribution("tensorferry")
    except PackageNotFoundError:
        variables["PYTHONPATH"] = str(ROOT)
    if gpu_is_installed():
        variables["TENSORFERRY_DEVICE"] = "cpu"
    return variables


def environment(cache_home: Path, **more: str) -> dict[str, str]:
    """Return this process's environment without its own settings, with *cache_home* and *more*."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TENSORFERRY_") and name != "NOTIFY_SOCKET"
    }
    cache_setting = {"XDG_CACHE_HOME": str(cache_home)}
    return inherited | _settings_of_this_machine() | cache_setting | more


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """Return what *condition* gives once that is true; fail after *seconds*, naming *what*."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)


def port_in(log: str) -> int | None:
    """Return the port that a server's *log* tells, if it does."""
    found = re.search(r"listening on http://127\.0\.0\.1:(\d+)$", log, re.MULTILINE)
    return int(found[1]) if found else None


def readiness(port: int) -> int | None:
    """Return the status of `GET /readyz`, None where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


class Server:
    """A server in a process of its own: its pid, its log (both outputs in one) and its end."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self._process = process
        self._log_file = log_file
        self.pid = process.pid
        self._port = 0

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log_file.read_text()

    @property
    def port(self) -> int:
        """The port that it listens on, waited for."""
        if not self._port:
            self._port = self.wait_for(lambda: port_in(self.log), "a port in the log")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float = START) -> T:
        """Wait for *condition* as long as the process runs; an early end fails with its log."""

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
        """Wait for the end and return the code; minus the number where a signal ended it."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """End it, and what it may have started, if it still runs; by force after a while."""
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
    door: Sequence[str] = SERVE,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """
    Start a server in *folder*, through *door*, with *options*; end it when the block ends.

    *variables* are added to its environment.
    """
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*door, *options],
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
    door: Sequence[str] = SERVE,
    variables: Mapping[str, str] | None = None,
    patience: float = START,
) -> Iterator[Server]:
    """
    Start a server on any free port as `started` does; wait *patience* seconds at most.

    Without a default timeout, unless *options* name one: what is asked is answered on any machine.
    """
    with started(
        "--port", "0", *options, cache_home=cache_home, folder=folder, door=door,
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
    """Run *command* in *folder* to its end, as a server would be; outputs are kept apart."""
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


#: click's usage lines, and the log of what went well.
NOISE = re.compile(r"Usage: |Try '|\S+ \S+ info |$")


def reasons(stderr: str) -> list[str]:
    """Return the lines on *stderr* that tell why a start failed."""
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if not NOISE.match(line)]


def resident_bytes(pid: int) -> int:
    """Return the memory that process *pid* holds in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, f"process {pid} has no VmRSS"
    return int(found[1]) * 1024


class MemoryWatch:
    """Looks at a process's memory every few milliseconds, from a thread, while a block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.first = self.peak = resident_bytes(pid)

    @property
    def growth(self) -> int:
        """Bytes by which the memory was ever larger than at first."""
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

    def _look(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end before the block does
            while not self._ended.wait(0.005):
                self.peak = max(self.peak, resident_bytes(self._pid))
