"""Start servers as daemons of twistd, with a model in their folder, and end them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from tests.integration.graphs import SCORES, Graphs
from tests.integration.servers import port_in, readiness, run_program, wait_for

MODEL_TOML = """
name = "sums"
version = 3
input = "x:0"
output = "final_result"
"""


def _sums_and_logarithms(tf: ModuleType) -> None:
    """Make a graph that returns the sum of each row, and the logarithm of its first number."""
    rows = tf.placeholder(tf.float32, (None, 4), name="x")
    columns = [tf.reduce_sum(rows, axis=1), tf.log(rows[:, 0])]
    tf.stack(columns, axis=1, name=SCORES)


def write_model(folder: Path) -> None:
    """Write the graph of sums and its model.toml into *folder*."""
    Graphs(folder).write(_sums_and_logarithms)
    (folder / "model.toml").write_text(MODEL_TOML)


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


def daemon_port(command: list[str], logfile: Path, folder: Path) -> int:
    """Start a daemon with *command* in *folder*; return its port when it is ready."""
    parent = run_program(command, cache_home=folder, folder=folder)
    assert (parent.returncode, parent.stdout, parent.stderr) == (0, "", "")
    port = wait_for(lambda: port_in(logfile.read_text()), "a port in the log")
    wait_for(lambda: readiness(port) == 200, "readiness", 120)
    return port
