"""The error of a server that cannot start: one line with the reason, and what may explain it."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers import SERVE, TWISTD, TWISTD_N, reasons, run_program, wait_for

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """Return a port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


BOTH = (SERVE, TWISTD_N)

#: The commands, their options, and a pattern of the one line.
FAILURES = {
    "missing model": (
        (TWISTD_N,),
        "--model absent",
        r"--model: expected a readable file or folder, got 'absent' \(command line\): No such .*",
    ),
    "wrong option": (
        BOTH,
        "--max-batch-size none",
        r"--max-batch-size: expected a whole number of at least 1, got 'none' \(command line\)",
    ),
    "unknown option": (
        BOTH,
        "--max-batch-sizes 3",
        r".*--max-batch-sizes.*--max-batch-size\b.*",
    ),
}

CASES = [
    pytest.param(command, options, reason, id=f"{kind}-{command[-1]}")
    for kind, (commands, options, reason) in FAILURES.items()
    for command in commands
]


@pytest.mark.parametrize(("command", "options", "reason"), CASES)
def test_a_failed_start_gives_the_reason_in_one_line(
    tmp_path: Path, command: tuple[str, ...], options: str, reason: str
) -> None:
    """On stderr, without a traceback, and with exit code 1 or 2."""
    result = run_program([*command, *options.split()], cache_home=tmp_path, folder=tmp_path)
    assert result.returncode in {1, 2}
    (line,) = reasons(result.stderr)
    assert re.search(f"(^|: | critical ){reason}$", line), line
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.parametrize("command", BOTH, ids=["serve", "twistd"])
def test_a_taken_port_is_explained_by_the_process_that_has_it(
    tmp_path: Path, taken: int, command: tuple[str, ...]
) -> None:
    """In one more line, as `tensorferry doctor` states it; the reason comes first."""
    result = run_program([*command, "--port", str(taken)], cache_home=tmp_path, folder=tmp_path)
    assert result.returncode == 1
    reason, explanation = dict.fromkeys(  # twistd -n has each line in its log as well
        re.sub(r"^\S+ \S+ \[\S+\] |^\S+ \S+ (critical|warn) +", "", line)
        for line in reasons(result.stderr)
    )
    address = f"tcp:{taken}:interface=127.0.0.1: Address already in use"
    assert reason == f"cannot listen on {address}"
    assert explanation.startswith(f"listen: {address}: process {os.getpid()} (")
    assert explanation.endswith(
        f"kill {os.getpid()} ends that process; or choose another address with --port"
    )
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "twistd.pid").exists()


def test_a_daemon_that_cannot_listen_fails_in_the_parent(tmp_path: Path, taken: int) -> None:
    """The parent waits for the result of the child, prints the reason and fails."""
    command = [*TWISTD, "tensorferry", "--port", str(taken)]
    result = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert result.returncode == 1
    lines = [line for line in reasons(result.stderr) if "Please look at log file" not in line]
    (line,) = lines
    assert f"cannot listen on tcp:{taken}:interface=127.0.0.1: Address already in use" in line
    # The child removes its file after the report.
    wait_for(lambda: not (tmp_path / "twistd.pid").exists(), "no pid file")
