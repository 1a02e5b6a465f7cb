"""The error of a server that cannot start: one line with the reason."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.backends.tensorflow.default_model.source import GRAPH_FILE, ensure_default_model
from model.repository.cache import CacheFolder
from tests.integration.servers import SERVE, TWISTD, TWISTD_N, reasons, run_program, wait_for


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """Return a port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def files(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a good and a bad graph, folders without one, and two labels."""
    folder = tmp_path_factory.mktemp("files")
    model = ensure_default_model(CacheFolder(cache_home / "tensorferry"), lambda _: None)
    (folder / "good.pb").symlink_to(model.path / GRAPH_FILE)
    (folder / "bad.pb").write_bytes(b"\xff" * 100)
    (folder / "two.txt").write_text("cat\ndog\n")
    (folder / "empty").mkdir()
    (folder / "toml").mkdir()
    (folder / "toml" / "good.pb").symlink_to(model.path / GRAPH_FILE)
    (folder / "toml" / "model.toml").write_text('label = "two.txt"')
    return folder


COMMANDS = {"serve": SERVE, "twistd": TWISTD_N}

#: The options, and a pattern of the one line.
FAILURES = {
    "taken port": (
        "--port {taken}",
        r"cannot listen on tcp:{taken}:interface=127\.0\.0\.1: Address already in use",
    ),
    "missing graph": (
        "--graph absent.pb --labels two.txt",
        r"--graph: expected a readable file, got 'absent\.pb' \(command line\): No such file or .*",
    ),
    "graph that is none": (
        "--port 0 --graph bad.pb --labels two.txt",
        r"\S+/bad\.pb: not a frozen GraphDef, or cut short \(.*\)",
    ),
    "labels of another number": (
        "--port 0 --graph good.pb --labels two.txt",
        r"\S+/good\.pb: 'final_result' gives \[1, 1000\] for 1 row, but the number of labels .*",
    ),
    "missing model": (
        "--model absent",
        r"--model: expected a readable file or folder, got 'absent' \(command line\): No such .*",
    ),
    "folder with no model": (
        "--port 0 --model empty",
        r"\S+/empty: holds no model; expected .*, found nothing",
    ),
    "model.toml of another kind": (
        "--port 0 --model toml",
        r"\S+/toml/model\.toml: no such key: 'label'; did you mean labels\?",
    ),
    "wrong option": (
        "--max-batch-size none",
        r"--max-batch-size: expected a whole number of at least 1, got 'none' \(command line\)",
    ),
    "unknown option": (
        "--max-batch-sizes 3",
        r".*--max-batch-sizes.*--max-batch-size\b.*",
    ),
    "option of nothing": ("--labels two.txt", r"labels \(command line\) needs graph or model, .*"),
}


#: These import TensorFlow first, which takes seconds: only the first runs without --full.
SLOW = [
    (kind, name) for kind in ("graph that is none", "labels of another number") for name in COMMANDS
]

CASES = [
    pytest.param(
        *(command, kind),
        id=f"{kind}-{name}",
        marks=[pytest.mark.full] if (kind, name) in SLOW[1:] else [],
    )
    for kind in FAILURES
    for name, command in COMMANDS.items()
]


@pytest.mark.parametrize(("command", "kind"), CASES)
def test_a_failed_start_gives_the_reason_in_one_line(
    cache_home: Path, files: Path, taken: int, command: tuple[str, ...], kind: str
) -> None:
    """On stderr, without a traceback, and with exit code 1 or 2."""
    options, reason = (text.replace("{taken}", str(taken)) for text in FAILURES[kind])
    result = run_program([*command, *options.split()], cache_home=cache_home, folder=files)
    assert result.returncode in {1, 2}
    (line,) = reasons(result.stderr)
    assert re.search(f"(^|: | critical ){reason}$", line), line
    assert "Traceback" not in result.stdout
    assert not (files / "twistd.pid").exists()


def test_a_daemon_that_cannot_listen_fails_in_the_parent(
    cache_home: Path, tmp_path: Path, taken: int
) -> None:
    """The parent waits for the result of the child, prints the reason and fails."""
    command = [*TWISTD, "tensorferry", "--port", str(taken)]
    result = run_program(command, cache_home=cache_home, folder=tmp_path)
    assert result.returncode == 1
    lines = [line for line in reasons(result.stderr) if "Please look at log file" not in line]
    (line,) = lines
    assert f"cannot listen on tcp:{taken}:interface=127.0.0.1: Address already in use" in line
    # The child removes its file after the report.
    wait_for(lambda: not (tmp_path / "twistd.pid").exists(), "no pid file")
