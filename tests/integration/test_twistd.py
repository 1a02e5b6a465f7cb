"""The server as a daemon of twistd."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.clients import post
from tests.integration.graphs import Graphs, image_input
from tests.integration.photos import jpeg
from tests.integration.servers import TWISTD, port_in, readiness, run_program, wait_for


def has_ended(pid: int) -> bool:
    """Return whether process *pid* has ended; its parent may not have collected it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@contextmanager
def killed_after(pidfile: Path) -> Iterator[None]:
    """Kill the daemon that *pidfile* names, if it still runs after the block."""
    try:
        yield
    finally:
        if pidfile.exists():
            with suppress(ProcessLookupError):
                os.kill(int(pidfile.read_text()), signal.SIGKILL)


def test_a_daemon_serves_until_sigterm(tmp_path: Path) -> None:
    """It answers, drains at SIGTERM, logs the drain, and removes its pidfile."""
    pidfile, logfile = tmp_path / "ferry.pid", tmp_path / "ferry.log"
    graph = Graphs(tmp_path).write(image_input())  # a small model: the start is faster
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    command = [
        *(*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}"),
        *("tensorferry", "--port=0", f"--graph={graph}", "--labels=labels.txt"),
    ]
    with killed_after(pidfile):
        parent = run_program(command, cache_home=tmp_path, folder=tmp_path)
        assert (parent.returncode, parent.stdout, parent.stderr) == (0, "", "")
        pid = int(pidfile.read_text())
        port = wait_for(lambda: port_in(logfile.read_text()), "a port in the log")
        wait_for(lambda: readiness(port) == 200, "readiness", 120)
        assert post(port, jpeg("coffee.png")).best == "red"
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: has_ended(pid), "the end of the daemon")
    assert not pidfile.exists()
    log = logfile.read_text()
    assert log.index("] draining\n") < log.index("] stopped; every accepted request was answered\n")
    assert "Traceback" not in log
