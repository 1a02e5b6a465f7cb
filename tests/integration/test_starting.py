"""How servers start: in a folder of other modules, under systemd, without a usable GPU, quickly."""

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
    """A folder with modules of the user, which no server may import."""
    for name in ("model", "server", "batcher", "scripts", "twisted"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the user')\n")
    # Python's own -c and -m do import them from this folder.
    command = [sys.executable, "-c", "import server"]
    harmed = run_program(command, cache_home=cache_home, folder=tmp_path)
    assert "the server of the user" in harmed.stderr
    return tmp_path


class Systemd:
    """The socket of a service manager, and the lines received on it."""

    def __init__(self, folder: Path) -> None:
        self.variables = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.variables["NOTIFY_SOCKET"])
        self._socket.settimeout(START)

    def hear(self, line: str) -> None:
        """Receive until *line* comes."""
        while line not in self.heard:
            self.heard.extend(self._socket.recv(4096).decode().splitlines())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.mark.full
@COMMANDS
def test_a_server_in_a_crowded_folder_answers_and_notifies_systemd(
    cache_home: Path, crowded: Path, command: tuple[str, ...]
) -> None:
    """Beside a model.py of the user; READY=1 comes when it is ready, STOPPING=1 when it drains."""
    with (
        closing(Systemd(crowded)) as systemd,
        started(
            "--port=0", cache_home=cache_home, folder=crowded, command=command,
            variables=systemd.variables,
        ) as server,
    ):  # fmt: skip
        systemd.hear("READY=1")
        assert readiness(server.port) == 200
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
        assert "STOPPING=1" not in systemd.heard
        server.signal()
        systemd.hear("STOPPING=1")
        server.exit_code()
    heard = systemd.heard
    assert heard.index("STATUS=loading TensorFlow") < heard.index("READY=1")
    assert heard.index("STATUS=ready") < heard.index("STATUS=draining")


@COMMANDS
def test_check_config_prints_the_settings_and_exits(
    cache_home: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As a TOML file that gives the same settings when read again; nothing is started."""
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
def test_a_second_start_converts_and_measures_nothing(cache_home: Path, tmp_path: Path) -> None:
    """The first start has stored the results."""
    with serving(cache_home=cache_home, folder=tmp_path) as server:
        assert "converting" not in server.log
        assert " rows: " not in server.log, "it measured again"


@pytest.mark.full
@pytest.mark.skipif(gpu_is_installed(), reason="this machine has a GPU")
def test_a_gpu_that_tensorflow_cannot_see_is_an_error(cache_home: Path, tmp_path: Path) -> None:
    """If nvidia-smi lists a GPU, the server runs on the CPU only with --device cpu."""
    listing = tmp_path / "bin" / "nvidia-smi"
    listing.parent.mkdir()
    listing.write_text('#!/bin/sh\necho "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"\n')
    listing.chmod(0o755)
    path = {"PATH": f"{listing.parent}:/usr/bin:/bin"}
    command = [*SERVE, "--port", "0"]
    refused = run_program(command, cache_home=cache_home, folder=tmp_path, variables=path)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if " critical " in line]
    assert "nvidia-smi lists a GPU, but TensorFlow sees none: " in line
    assert line.endswith("; --device cpu serves on the CPU")
    assert "Traceback" not in refused.stderr
    options = ("--device", "cpu")
    with serving(*options, cache_home=cache_home, folder=tmp_path, variables=path) as server:
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
