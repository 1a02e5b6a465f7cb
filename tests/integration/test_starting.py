"""Starts of servers: beside modules of the same names, under systemd, and without a GPU."""

import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from model.backends.tensorflow.device import gpu_is_installed
from tests.integration.clients import post
from tests.integration.photos import jpeg
from tests.integration.servers import (
    SERVE,
    START,
    TWISTD_N,
    readiness,
    run_program,
    serving,
    started,
)

COMMANDS = pytest.mark.parametrize(
    "command",
    [
        pytest.param(SERVE, id="serve"),
        pytest.param(TWISTD_N, id="twistd", marks=pytest.mark.full),
    ],
)


@pytest.fixture
def crowded(cache_home: Path, tmp_path: Path) -> Path:
    """Return a folder with modules of a user, which no server may import."""
    for name in ("model", "server", "batcher", "scripts", "twisted"):
        (tmp_path / f"{name}.py").write_text(
            f"raise RuntimeError('the {name} of another project')\n"
        )
    # Python imports them by default: -c and -m put the folder on the path.
    command = [sys.executable, "-c", "import server"]
    failed = run_program(command, cache_home=cache_home, folder=tmp_path)
    assert "the server of another project" in failed.stderr
    return tmp_path


class Systemd:
    """The socket of a service manager, and the lines received on it."""

    def __init__(self, folder: Path) -> None:
        self.variables = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.received: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.variables["NOTIFY_SOCKET"])
        self._socket.settimeout(START)

    def wait_for(self, line: str) -> None:
        """Receive until *line* arrives."""
        while line not in self.received:
            self.received.extend(self._socket.recv(4096).decode().splitlines())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.mark.full
@COMMANDS
def test_a_server_beside_modules_of_a_user_answers_and_notifies_systemd(
    cache_home: Path, crowded: Path, command: tuple[str, ...]
) -> None:
    """With a model.py in its folder; it sends READY=1 when ready, STOPPING=1 when it drains."""
    with (
        closing(Systemd(crowded)) as systemd,
        started(
            "--port=0", cache_home=cache_home, folder=crowded, command=command,
            variables=systemd.variables,
        ) as server,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        assert readiness(server.port) == 200
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
        assert "STOPPING=1" not in systemd.received
        server.signal()
        systemd.wait_for("STOPPING=1")
        server.exit_code()
    received = systemd.received
    assert received.index("STATUS=loading TensorFlow") < received.index("READY=1")
    assert received.index("STATUS=ready") < received.index("STATUS=draining")


@COMMANDS
def test_check_config_prints_the_settings_and_exits(
    cache_home: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As a TOML file that can be read back; no server is started."""
    options = ["--max_batch_size", "16", "--check-config"]
    variables = {"TENSORFERRY_DRAIN_DELAY": "5"}
    checked = run_program(
        [*command, *options], cache_home=cache_home, folder=tmp_path, variables=variables
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = {line.partition(" ")[0]: line.split() for line in checked.stdout.splitlines()}
    assert lines["max_batch_size"] == ["max_batch_size", "=", "16", "#", "command", "line"]
    assert lines["drain_delay"] == ["drain_delay", "=", "5", "#", "TENSORFERRY_DRAIN_DELAY"]
    assert not list(tmp_path.iterdir())
    config = tmp_path / "ferry.toml"
    config.write_text(checked.stdout)
    options = ["--config", str(config), "--check-config"]
    again = run_program([*command, *options], cache_home=cache_home, folder=tmp_path)
    values = [line.partition("#")[0] for line in checked.stdout.splitlines()]
    assert [line.partition("#")[0] for line in again.stdout.splitlines()] == values
    assert again.returncode == 0


@pytest.mark.full
@pytest.mark.usefixtures("server")
def test_a_second_start_converts_nothing(cache_home: Path, tmp_path: Path) -> None:
    """The first start has stored the converted model; run times only if nothing disturbed it."""
    with serving(cache_home=cache_home, folder=tmp_path) as server:
        assert "converting" not in server.log


@pytest.mark.full
@pytest.mark.skipif(gpu_is_installed(), reason="this machine has a GPU")
def test_a_gpu_that_tensorflow_cannot_use_is_an_error(cache_home: Path, tmp_path: Path) -> None:
    """If nvidia-smi lists a GPU, the server uses the CPU only with --device cpu."""
    listing = tmp_path / "bin" / "nvidia-smi"
    listing.parent.mkdir()
    listing.write_text('#!/bin/sh\necho "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"\n')
    listing.chmod(0o755)
    path = {"PATH": f"{listing.parent}:/usr/bin:/bin"}
    command = [*SERVE, "--port", "0"]
    refused = run_program(command, cache_home=cache_home, folder=tmp_path, variables=path)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if " critical " in line]
    assert "nvidia-smi lists a GPU, but TensorFlow sees no GPU: " in line
    assert line.endswith("; --device cpu serves on the CPU")
    assert "Traceback" not in refused.stderr
    options = ("--device", "cpu")
    with serving(*options, cache_home=cache_home, folder=tmp_path, variables=path) as server:
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
